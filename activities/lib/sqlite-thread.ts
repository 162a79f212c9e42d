/** The thread behind `runAside`: runs a job and posts what it found. */
import { parentPort, workerData } from 'node:worker_threads';
import { runJob } from './sqlite-job.ts';

// oxlint-disable-next-line require-post-message-target-origin -- a thread's port has no origin
parentPort?.postMessage({ rows: runJob(workerData) });
