import { inject } from 'vitest';

const answers = new Map<string, Promise<string>>();

/** Asks the suite's set-up for a server, which starts it for the first who asks. */
export function askForServer(name: 'postgres' | 'temporal'): Promise<string> {
  let answer = answers.get(name);
  if (answer === undefined) {
    answer = ask(name);
    answers.set(name, answer);
  }
  return answer;
}

async function ask(name: string): Promise<string> {
  const response = await fetch(`${inject('servers')}/${name}`);
  const text = await response.text();
  if (!response.ok) throw new Error(`The suite's ${name} server did not start. ${text}`);
  return text;
}
