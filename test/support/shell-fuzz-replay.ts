/**
 * Replays of histories against the product's own workflow bundle: whole histories, the same histories cut at every workflow task,
 * and histories that were kept as JSON.
 */
import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';
import type { History } from '@temporalio/common/lib/proto-utils.js';
import { Worker } from '@temporalio/worker';
import { workflowBundle } from './bundle.ts';

/** The history of one execution of a workflow. */
export type Execution = { workflowId: string; history: History };
export type HistoryEvent = NonNullable<History['events']>[number];

/** A replay that failed: the workflow id, how many events of the history were replayed, and the error. */
export type BrokenReplay = { workflowId: string; events: number; error: string };

/** Replays one after the other; `count` is how many there were. */
export async function replayAll(
  histories: readonly Execution[],
): Promise<{ count: number; broken: BrokenReplay[] }> {
  const broken: BrokenReplay[] = [];
  let count = 0;
  if (histories.length === 0) return { count, broken };
  const options = { workflowBundle: await workflowBundle() };
  for await (const { workflowId, error } of Worker.runReplayHistories(options, histories)) {
    const events = histories[count]?.history.events?.length ?? 0;
    count += 1;
    if (error !== undefined) broken.push({ workflowId, events, error: reasonIn(error.message) });
  }
  return { count, broken };
}

/** What core found, without the wrapping. */
function reasonIn(message: string): string {
  return /message: "([^"]*)"/.exec(message)?.[1] ?? message;
}

/**
 * The history cut behind every workflow task that was started, and behind every one that was completed. The whole history is the
 * last one. A worker that takes over at that moment replays exactly this much.
 */
export function cutAtTasks({ workflowId, history }: Execution): Execution[] {
  const events = history.events ?? [];
  const ends = events.flatMap((event, index) =>
    event.workflowTaskStartedEventAttributes != null || event.workflowTaskCompletedEventAttributes != null
      ? [index + 1]
      : [],
  );
  return [...new Set([...ends, events.length])].map((end) => ({
    workflowId,
    history: { events: events.slice(0, end) },
  }));
}

/** Replays a history in Temporal's JSON. Returns the error, or undefined if it replays. */
export async function replayJson(file: string): Promise<string | undefined> {
  const history = protoJson().fromJson(JSON.parse(await readFile(file, 'utf8')));
  const { broken } = await replayAll([{ workflowId: file, history }]);
  return broken[0]?.error;
}

/** The history in Temporal's JSON, as `replayJson` reads it. */
export function jsonOf(history: History): string {
  return JSON.stringify(protoJson().toJson(history), null, 1);
}

type ProtoJson = {
  fromJson: (type: unknown, json: unknown, options: { ignoreUnknownFields: boolean }) => History | null;
  toJson: (type: unknown, message: History) => unknown;
};
type ProtoRoot = { lookupType(name: string): unknown };

/**
 * The SDK's own `historyFromJSON` fails if npm has installed protobufjs more than once: it hands a type of one copy to another
 * copy. Here both come from the copy that @temporalio/proto uses.
 */
function protoJson(): { fromJson(json: unknown): History; toJson(history: History): unknown } {
  const fromCommon = createRequire(createRequire(import.meta.url).resolve('@temporalio/common'));
  const fromProto = createRequire(fromCommon.resolve('@temporalio/proto'));
  const { fromJson, toJson } = fromProto('protobufjs/ext/protojson') as ProtoJson;
  const { patchProtobufRoot } = fromProto('@temporalio/proto/lib/patch-protobuf-root') as {
    patchProtobufRoot: (root: unknown) => ProtoRoot;
  };
  const type = patchProtobufRoot(fromProto('@temporalio/proto')).lookupType(
    'temporal.api.history.v1.History',
  );
  return {
    fromJson(json) {
      const history = fromJson(type, json, { ignoreUnknownFields: true });
      if (history === null) throw new Error('The file holds no history.');
      return history;
    },
    toJson: (history) => toJson(type, history),
  };
}
