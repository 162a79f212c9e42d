/** What a command gets: its terminal, its settings, its client. */
import { type Access, type Client, makeClient } from './client.ts';
import { UsageError } from './errors.ts';
import { type Style, retyped } from './view/style.ts';

export type Terminal = {
  out: {
    write(text: string): unknown;
    rows?: number | undefined;
    columns?: number | undefined;
    isTTY?: boolean | undefined;
  };
  err: { write(text: string): unknown };
  /** Asks a person; undefined where there is none. */
  ask: ((question: string) => Promise<string>) | undefined;
  variables: Record<string, string | undefined>;
  signal: AbortSignal;
};

export type Format = 'text' | 'json' | 'jsonl';

export type CommandContext = {
  terminal: Terminal;
  style: Style;
  format: Format;
  /** Whether a view can be drawn again in place. */
  isLive: boolean;
  access(): Access;
  client(): Client;
  /** Lines for people, or one JSON value. */
  answer(lines: () => string[], value: unknown): void;
  say(text: string): void;
};

/** How people call this command here, where that is not by its name: npm says so to what it starts. */
export function commandOf(variables: Terminal['variables']): string | undefined {
  const { npm_command: npm, npm_lifecycle_event: script } = variables;
  if (npm === 'exec') return 'npx countdown';
  return (npm === 'run' || npm === 'run-script') && script === 'countdown'
    ? 'npm run -s countdown --'
    : undefined;
}

export function makeContext(terminal: Terminal, options: { format: Format; ascii: boolean }): CommandContext {
  const { variables } = terminal;
  const isLive = terminal.out.isTTY === true && variables['TERM'] !== 'dumb';
  const command = commandOf(variables);
  const style: Style = {
    ascii: options.ascii,
    colour: isLive && (variables['NO_COLOR'] ?? '') === '',
    isWhole: !isLive,
    ...(command === undefined ? {} : { command }),
  };
  const access = (): Access => {
    const [url, token] = [variables['COUNTDOWN_URL'], variables['COUNTDOWN_TOKEN']];
    if (url === undefined || url === '') {
      throw new UsageError(
        'COUNTDOWN_URL is not set: set it to the address of the API; npm run dev starts one and prints it.',
      );
    }
    if (!URL.canParse(url)) {
      throw new UsageError(
        'COUNTDOWN_URL is no address: set it to that of the API, as http://127.0.0.1:8080.',
      );
    }
    if (token === undefined || token === '') {
      throw new UsageError('COUNTDOWN_TOKEN is not set: set it to your token.');
    }
    return { url, token };
  };
  return {
    terminal,
    style,
    format: options.format,
    isLive,
    access,
    client: () => makeClient(access()),
    answer(lines, value) {
      const text =
        options.format === 'text'
          ? lines().join('\n')
          : JSON.stringify(value, null, options.format === 'json' ? 2 : 0);
      terminal.out.write(`${text}\n`);
    },
    say: (text) => void terminal.err.write(`${retyped(style, text)}\n`),
  };
}

/** Throws UsageError for what is no number of a run. */
export function runNumber(text: string | undefined): number {
  const digits = /^(?:run\/)?([1-9]\d{0,8})$/.exec(text ?? '')?.[1];
  if (digits === undefined)
    throw new UsageError(`'${text ?? ''}' is no number of a run: look at countdown runs.`);
  return Number(digits);
}

/** `30s`, `5m`, `1h30m`, `30d` in milliseconds. Throws UsageError. */
export function readDuration(text: string): number {
  const parts = /^(?:(\d{1,3})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?$/.exec(text);
  if (text === '' || parts === null)
    throw new UsageError(`'${text}' is no duration: write it as 30s, 5m or 1h30m.`);
  const [days, hours, minutes, seconds] = parts
    .slice(1, 5)
    .map((part: string | undefined) => Number(part ?? 0));
  return ((((days ?? 0) * 24 + (hours ?? 0)) * 60 + (minutes ?? 0)) * 60 + (seconds ?? 0)) * 1000;
}
