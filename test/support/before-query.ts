/** A moment between two statements of whoever asks PostgreSQL from this process, for tests of what happens just then. */
import { Client } from 'pg';

/**
 * Runs `act` before each statement that `isMeant` picks, which is then sent; where `act` throws it is not. Ends with the
 * scope of the test.
 */
export function beforeQuery(
  isMeant: (sql: string, client: Client) => boolean,
  act: (client: Client) => Promise<void> | void,
): Disposable {
  type Query = (this: Client, ...args: unknown[]) => unknown;
  const prototype = Client.prototype as unknown as { query: Query };
  const original = prototype.query;
  prototype.query = function query(this: Client, ...args: unknown[]): unknown {
    const [first] = args;
    const sql = typeof first === 'string' ? first : textOf(first);
    if (sql === undefined || !isMeant(sql, this)) return original.apply(this, args);
    return Promise.resolve(act(this)).then(() => original.apply(this, args));
  };
  return {
    [Symbol.dispose]() {
      prototype.query = original;
    },
  };
}

/** The text of a query that is an object; undefined of a stream, which stays as it is. */
function textOf(query: unknown): string | undefined {
  if (typeof query !== 'object' || query === null || 'submit' in query || !('text' in query))
    return undefined;
  return typeof query.text === 'string' ? query.text : undefined;
}
