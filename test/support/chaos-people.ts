/** The people of a run under faults: they approve what they are asked, and abort, pause or resume it. Each word is kept with its answer. */
import { setTimeout as pause } from 'node:timers/promises';
import type { RunDetailWire } from '../../cli/wire.ts';
import type { ChaosWorld } from './chaos-world.ts';
import { REQUESTER } from './launch-world.ts';

const APPROVERS = ['ana', 'olu'] as const;
const ANSWER_MS = 30_000;
/** After an answer that promises nothing a person asks again. */
const ASK_AGAIN_MS = 1_000;
/** A person who was told that the vote is stored, or counted, believes it for this long. */
const BELIEVE_MS = 30_000;
/** An abort, pause or resume without an answer is said again this often. */
const SAY_AGAIN_MAX = 30;

export type Said = {
  /** Its reason in the decision row, by which the row is found. */
  tag: string;
  kind: string;
  person: string;
  subject: string | null;
  at: number;
  /** 0 where the connection broke before an answer came. */
  status: number;
  code: string | null;
  result: string | null;
};

export type People = {
  said: Said[];
  /** Gives the votes that the run asks for; returns at once. */
  look(run: RunDetailWire): void;
  /** No vote on the step is given until the promise resolves. */
  holdVotes(step: string, until: Promise<void>): void;
  /** Says it once more while no answer comes at all. Resolves with the last answer. */
  abort(): Promise<Said>;
  pause(): Promise<Said>;
  /** Says `resume` whenever the run is shown as paused, until it has ended. */
  resumeWhilePaused(): Promise<void>;
  /** Waits until every word has its answer. */
  quiet(): Promise<void>;
};

export function makePeople(world: ChaosWorld, run: number, ending: AbortSignal): People {
  const said: Said[] = [];
  const talking = new Set<Promise<unknown>>();
  const votes = new Map<string, { busy: boolean; notBefore: number }>();
  let held: string | undefined;

  const say = async (
    path: string,
    body: Record<string, unknown>,
    about: Pick<Said, 'kind' | 'person' | 'subject'>,
  ): Promise<Said> => {
    const tag = `chaos ${run}.${said.length + 1}`;
    const entry: Said = { ...about, tag, at: Date.now(), status: 0, code: null, result: null };
    said.push(entry);
    const sending = send(world, about.person, `/v1/runs/${run}/${path}`, { ...body, reason: tag });
    talking.add(sending);
    Object.assign(entry, await sending);
    talking.delete(sending);
    return entry;
  };

  const steer = async (kind: 'abort' | 'pause' | 'resume'): Promise<Said> => {
    for (let turn = 1; ; turn += 1) {
      const answer = await say(kind, {}, { kind, person: REQUESTER, subject: null });
      if (answer.status !== 0 && (answer.status < 500 || answer.code === 'NoWorker')) return answer;
      if (turn === SAY_AGAIN_MAX || ending.aborted) return answer;
      await pause(ASK_AGAIN_MS);
    }
  };

  const vote = async (view: RunDetailWire, step: string, evidence: string, person: string): Promise<void> => {
    const key = `${step}/${evidence}/${person}`;
    const memory = votes.get(key) ?? { busy: false, notBefore: 0 };
    if (memory.busy || Date.now() < memory.notBefore) return;
    votes.set(key, { ...memory, busy: true });
    const answer = await say(
      'decisions',
      { step, decision: 'approve', plan: view.plan, evidence },
      { kind: 'approve', person, subject: step },
    );
    const believes = answer.status === 200 || answer.code === 'NoWorker';
    votes.set(key, { busy: false, notBefore: Date.now() + (believes ? BELIEVE_MS : ASK_AGAIN_MS) });
  };

  return {
    said,
    look(view) {
      for (const { step, evidence, state, votes: given } of view.approvals) {
        if (state !== 'open' || step === held) continue;
        for (const person of APPROVERS)
          if (!given.some((one) => one.person === person)) void vote(view, step, evidence, person);
      }
    },
    holdVotes(step, until) {
      held = step;
      void until.then(() => {
        held = undefined;
      });
    },
    abort: () => steer('abort'),
    pause: () => steer('pause'),
    async resumeWhilePaused() {
      while (!ending.aborted) {
        const view = await world
          .client()
          .run(run)
          .catch(() => undefined);
        // A pause that was stored may arrive late, also after a resume.
        if (view?.state === 'paused') await steer('resume');
        await pause(ASK_AGAIN_MS);
      }
    },
    async quiet() {
      await Promise.all(talking);
    },
  };
}

type Answer = Pick<Said, 'status' | 'code' | 'result'>;

/** The status 0 says that nothing came back: the API may have stored the decision all the same. */
async function send(world: ChaosWorld, person: string, path: string, body: object): Promise<Answer> {
  try {
    const response = await fetch(`${world.stack.url}${path}`, {
      method: 'POST',
      headers: {
        Authorization: `Bearer ${world.stack.tokens[person]}`,
        'Content-Type': 'application/json',
      },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    const answer = (await response.json()) as { code?: string; result?: string };
    return { status: response.status, code: answer.code ?? null, result: answer.result ?? null };
  } catch {
    return { status: 0, code: null, result: null };
  }
}
