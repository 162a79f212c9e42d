/** Follows a run to its end: a tree that is drawn again in place on a terminal, a line an event elsewhere. */
import { type Access, makeClient } from './client.ts';
import { ApiError } from './errors.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';
import { eventLine } from './view/event.ts';
import { hintLines } from './view/hints.ts';
import { runLines } from './view/run.ts';
import { COLUMNS_MAX, type Style, widthOf } from './view/style.ts';
import { silencesOf, waitsOf } from './view/waits.ts';
import type { EventWire, RunDetailWire } from './wire.ts';

const REDRAW_MS = 1_000;
const LOOK_AGAIN_MS = 250;
/** A decision that no worker has taken makes no event, so the run is read this often anyway. */
const LOOK_ANYWAY_MS = 5_000;
/** As wide as the time of an event. */
const SET_IN = ' '.repeat(10);
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 5_000;

export type WatchOptions = Access & {
  run: number;
  out: { write(text: string): unknown; rows?: number | undefined; columns?: number | undefined };
  /** Where messages go that are no part of the view. */
  err?: { write(text: string): unknown };
  style: Style;
  /** `live` redraws in place; `lines` writes a line an event; `jsonl` writes each event as JSON. */
  mode: 'live' | 'lines' | 'jsonl';
  /** Milliseconds after which the watching ends with 124; undefined for never. */
  timeoutMs?: number | undefined;
  /** Ends the watching with 130; the run goes on. */
  signal?: AbortSignal | undefined;
  /** Called with each new reading, for who asks for approvals meanwhile. While it is at work in `live` mode nothing is drawn. */
  onReading?: ((run: RunDetailWire, speaks: () => void) => Promise<void> | void) | undefined;
  /** Whether the view says which commands can follow. Default true. */
  hasHints?: boolean | undefined;
  /** Go on past `stuck`: somebody is there who resolves. Default false, so watching ends with 7. */
  stayWhenStuck?: boolean | undefined;
};

export type Watched = { exitCode: number; run: RunDetailWire | null };

/**
 * Resolves with the exit code of the run's end. Connections that break are made again with the last id seen. Throws
 * ApiError where the API refuses (401, 403, 404).
 */
export async function watchRun(options: WatchOptions): Promise<Watched> {
  const client = makeClient(options);
  const leaving = new AbortController();
  const timeout =
    options.timeoutMs === undefined
      ? undefined
      : setTimeout(() => leaving.abort('timeout'), options.timeoutMs);
  const onSignal = () => leaving.abort('left');
  options.signal?.addEventListener('abort', onSignal);
  if (options.signal?.aborted === true) onSignal();
  const screen = makeScreen(options);
  let last: RunDetailWire | null = null;
  let skewMs = 0;
  let isAsking = false;
  const draw = () => {
    if (last === null || isAsking) return;
    const now = new Date(Date.now() + skewMs);
    screen.draw(last, now);
    screen.tell(last, now);
  };
  const read = async (): Promise<number | undefined> => {
    const run = await client.run(options.run).catch((error: unknown) => {
      // A connection that was never there is not lost: the address is wrong, or nothing runs there.
      if (last === null && error instanceof ApiError && error.status === 0) leaving.abort(error);
      throw error;
    });
    last = run;
    skewMs = Date.parse(run.at) - Date.now();
    draw();
    const code = exitCodeOf(run);
    if (code !== undefined && !(run.state === 'stuck' && options.stayWhenStuck === true)) return code;
    if (options.onReading !== undefined) {
      // What is said meanwhile must stay; where nothing is, the view is drawn over as always.
      isAsking = true;
      try {
        await options.onReading(run, () => screen.forget());
      } finally {
        isAsking = false;
      }
    }
    return undefined;
  };
  const clock = setInterval(draw, REDRAW_MS);
  try {
    const code = await follow(client, options, leaving.signal, read, (event) => {
      screen.event(event);
      if (last !== null) screen.tell(last, new Date(Date.now() + skewMs));
    });
    if (last !== null && code !== undefined) screen.end(last);
    if (code !== undefined) return { exitCode: code, run: last };
    if (leaving.signal.reason instanceof ApiError) throw leaving.signal.reason;
    return { exitCode: leaving.signal.reason === 'timeout' ? EXIT.timeout : EXIT.left, run: last };
  } finally {
    clearInterval(clock);
    clearTimeout(timeout);
    options.signal?.removeEventListener('abort', onSignal);
    leaving.abort('done');
  }
}

/** Reads the run after each event, but not more often than the eye needs; connects again until the run has ended. */
async function follow(
  client: ReturnType<typeof makeClient>,
  options: WatchOptions,
  signal: AbortSignal,
  read: () => Promise<number | undefined>,
  onEvent: (event: EventWire) => void,
): Promise<number | undefined> {
  let after: string | null = null;
  let retryMs = RETRY_MS_MIN;
  let wasLost = false;
  while (!signal.aborted) {
    const connection = new AbortController();
    // Where each event is a line, the stream is read to its end, which the server sets after the run's last row.
    const isLine = options.mode !== 'live';
    const reader = makeReader(read, (code) => {
      if (!isLine || code === undefined || code === EXIT.stuck) connection.abort();
    });
    const looks = setInterval(() => reader.wanted(), LOOK_ANYWAY_MS);
    try {
      reader.wanted();
      for await (const event of client.events(
        options.run,
        after,
        AbortSignal.any([signal, connection.signal]),
      )) {
        if (wasLost) options.err?.write('Connected again.\n');
        wasLost = false;
        retryMs = RETRY_MS_MIN;
        if (event === 'heartbeat') continue;
        if (event.id !== null) after = event.id;
        if (event.event === 'lagged') after = null;
        onEvent(event);
        reader.wanted();
      }
      const code = await reader.finish();
      if (code !== undefined) return code;
      await pause(retryMs, signal);
    } catch (error) {
      const code = await reader.settled().catch(() => undefined);
      if (code !== undefined) return code;
      if (signal.aborted) break;
      const fault = reader.fault() ?? error;
      if (fault instanceof ApiError && fault.status >= 400 && fault.status < 500 && fault.status !== 429)
        throw fault;
      if (!wasLost) options.err?.write('The connection is lost; the run goes on. Trying again.\n');
      wasLost = true;
      await pause(retryMs, signal);
      retryMs = Math.min(RETRY_MS_MAX, retryMs * 2);
    } finally {
      clearInterval(looks);
    }
  }
  return undefined;
}

/** Runs `read` once for any number of events that come while it is at work. */
function makeReader(read: () => Promise<number | undefined>, onEnd: (code: number | undefined) => void) {
  let isWanted = false;
  let working: Promise<void> | undefined;
  let code: number | undefined;
  let fault: unknown;
  const readAll = async () => {
    try {
      while (isWanted && code === undefined) {
        isWanted = false;
        code = await read();
        if (code === undefined) await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
      }
      if (code !== undefined) onEnd(code);
    } catch (error) {
      fault = error;
      onEnd(undefined);
    }
  };
  const wanted = () => {
    isWanted = true;
    working ??= readAll().finally(() => {
      working = undefined;
      if (isWanted && code === undefined && fault === undefined) wanted();
    });
  };
  const settled = async () => {
    for (let work = working; work !== undefined; work = working) await work;
    return code;
  };
  return {
    wanted,
    settled,
    fault: () => fault,
    /** After the stream has ended: one more reading, since the last event may have come after the last one. */
    async finish() {
      if (code === undefined && fault === undefined) wanted();
      await settled();
      if (fault !== undefined) throw fault;
      return code;
    },
  };
}

function makeScreen(options: WatchOptions) {
  const { out, style, mode } = options;
  let drawn = 0;
  let seq = 0;
  const told = new Set<string>();
  const render = (run: RunDetailWire, now: Date, isWatching: boolean) =>
    runLines(run, style, { now, isWatching, hasHints: options.hasHints !== false });
  return {
    draw(run: RunDetailWire, now: Date) {
      if (mode !== 'live') return;
      let lines = render(run, now, true);
      // A view that is higher than the terminal cannot be drawn again in place: its head stays, its middle is left out.
      const rows = (out.rows ?? 50) - 1;
      if (lines.length > rows && rows > 4)
        lines = [...lines.slice(0, 2), '…', ...lines.slice(lines.length - rows + 3)];
      const up = drawn > 0 ? `\u001b[${drawn}A\r` : '';
      out.write(`${up}\u001b[0J${lines.join('\n')}\n`);
      // A line that is wider than the terminal takes several of its rows.
      const columns = out.columns ?? COLUMNS_MAX;
      drawn = lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(widthOf(line) / columns)), 0);
    },
    /** Where nothing is drawn again: once what the run waits for, who can answer and how, and what does not answer. */
    tell(run: RunDetailWire, now: Date) {
      // What led to a wait stands above it.
      if (mode !== 'lines' || seq < run.head.seq) return;
      const waits = waitsOf(run, style).map(({ key, text, hints }) => ({
        key,
        lines: [text, ...(options.hasHints === false ? [] : hintLines(hints))],
      }));
      const silences = silencesOf(run, now).map(({ key, text }) => ({ key, lines: [text] }));
      for (const { key, lines } of [...waits, ...silences]) {
        if (told.has(key)) continue;
        told.add(key);
        out.write(lines.map((line) => `${SET_IN}${line}\n`).join(''));
      }
    },
    /** What follows stands below the view; the next drawing begins a new one. */
    forget() {
      drawn = 0;
    },
    event(event: EventWire) {
      if (event.id !== null) seq = Number(event.id);
      if (mode === 'jsonl') out.write(`${JSON.stringify(event)}\n`);
      if (mode !== 'lines') return;
      const line = eventLine(event, style);
      if (line !== null) out.write(`${line}\n`);
    },
    end(run: RunDetailWire) {
      if (mode === 'jsonl') return;
      if (drawn > 0) out.write(`\u001b[${drawn}A\r\u001b[0J`);
      out.write(`${render(run, new Date(run.at), false).join('\n')}\n`);
    },
  };
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done);
  });
}
