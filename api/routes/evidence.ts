/** Everything that was written down: of a run its plan, each row of its journal with hashes, and the head; of an environment what was refused. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { JournalRow } from '../../store/types.ts';
import { type ApiDeps, type ApiEnv, environmentNamed, grant, runById } from '../context.ts';
import { Evidence, RefusedPage } from '../schemas.ts';
import { runAnswer } from '../views.ts';
import {
  RunId,
  createRoute,
  json,
  paging,
  problems,
  query,
  readCursor,
  signedIn,
  writeCursor,
  z,
} from './define.ts';

const PAGE = 500;
const REFUSED_MAX = 1_000;

export function addEvidence(app: OpenAPIHono<ApiEnv>, deps: ApiDeps): void {
  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/runs/{id}/evidence',
      summary: 'Plan, journal and head of a run',
      security: signedIn,
      request: { params: RunId },
      responses: {
        200: { description: 'The evidence', content: json(Evidence) },
        ...problems(401, 403, 404),
      },
    }),
    async (c) => {
      const run = await runById(deps, c.req.valid('param').id);
      await grant(c, deps, await environmentNamed(deps, run.environment), run);
      const plan = await deps.store.plan(run.plan);
      if (plan === undefined) throw new Error(`The plan of run ${run.run} is not in the store.`);
      const rows: JournalRow[] = [];
      // Up to the head as read: rows that come meanwhile belong to the next look.
      while (rows.length < run.head.seq) {
        const page = await deps.store.journal(run.run, { after: rows.at(-1)?.seq ?? 0, limit: PAGE });
        rows.push(...page.filter(({ seq }) => seq <= run.head.seq));
        if (page.length < PAGE) break;
      }
      const of = { environment: run.environment, run: run.run, limit: REFUSED_MAX };
      const refused = (await deps.store.refusals(of)).toReversed();
      const undoSheet = sheetOf(rows[0]);
      return c.json({ run: runAnswer(run), plan, rows, head: run.head, refused, undoSheet }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/refused',
      summary: 'Attempts that were refused in an environment, newest first',
      security: signedIn,
      request: {
        query: query({
          environment: z.string({ error: 'expected the name of an environment' }).max(64),
          ...paging,
        }),
      },
      responses: {
        200: { description: 'A page', content: json(RefusedPage) },
        ...problems(400, 401, 403, 404),
      },
    }),
    async (c) => {
      const { environment: name, limit, cursor } = c.req.valid('query');
      await grant(c, deps, await environmentNamed(deps, name));
      const before = cursor === undefined ? {} : { before: readCursor(cursor) };
      const rows = await deps.store.refusals({ environment: name, limit: limit + 1, ...before });
      const items = rows.slice(0, limit);
      const last = rows.length > limit ? items.at(-1)?.seq : undefined;
      return c.json({ items, next: last === undefined ? null : writeCursor(last) }, 200);
    },
  );
}

/** The undo sheet that row 1 holds, as it was when the run was asked for. Null where the row is of an older version. */
function sheetOf(asked: JournalRow | undefined): string | null {
  const sheet = asked?.body['undoSheet'];
  if (sheet === null || typeof sheet !== 'object' || Array.isArray(sheet)) return null;
  const text = sheet['text'];
  return typeof text === 'string' ? text : null;
}
