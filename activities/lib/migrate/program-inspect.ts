/** inspect of a program: its SQL judged where it can tell it, and every revision tried up, down, up on the clone. */
import type { PhaseContext } from '../../phase.ts';
import { withPostgres } from '../postgres.ts';
import { type Code, named, refuse } from './codes.ts';
import type { Tried } from './dry-run.ts';
import { assertFew } from './inspect.ts';
import type { SourceFound } from './inspect.ts';
import {
  type Made,
  destroyedBy,
  destroyedOf,
  findingText,
  judge,
  judgeWhole,
  lintWorld,
  SINCE,
  lostByDown,
  note,
} from './judge.ts';
import { goneOf, thingsOf, unnamed } from './identity.ts';
import type { MigrateParams } from './params.ts';
import {
  NOT_KNOWN,
  type Program,
  type ProgramSource,
  howItEnded,
  mustPass,
  openProgram,
  said,
} from './program.ts';
import { digestOfSql, transactionsOf } from './program-sql.ts';
import { dropEmpty, missingTables, stateTable } from './program-state.ts';
import type { Scratch } from './scratch.ts';
import { difference, digestOf, lookOf, structureOf, withoutRows } from './structure.ts';

type WithClone = <T>(work: (made: Scratch) => Promise<T>) => Promise<T>;

export async function inspectProgram(
  params: MigrateParams,
  source: ProgramSource,
  withClone: WithClone,
  context: PhaseContext,
): Promise<SourceFound> {
  const target = context.target(params.target, 'postgres');
  const { revision, pending } = await withPostgres(params.target, context, async (connection) => {
    const program = await openProgram(params, source, { target, connection }, context);
    return await program.standing();
  });
  assertFew(pending, params);
  const scripts: Record<string, string> = {};
  const tried = await withClone(async (scratch) => {
    const program = await openProgram(params, source, scratch, context);
    await assertAsksClone(params, source, program, scratch);
    const one = new Trial(params, program, scratch, source, scripts, context);
    return await one.run(revision, pending);
  });
  return { pending, revisionBefore: revision, scripts, tried };
}

/** A program that has an address of its own would migrate whatever is there, while everybody believes it to be a clone. */
async function assertAsksClone(
  { source: name }: MigrateParams,
  source: ProgramSource,
  program: Program,
  scratch: Scratch,
): Promise<void> {
  const reads =
    source.is === 'alembic'
      ? `write  url = os.environ["${source.urlIn}"]  in env.py, which by itself reads alembic.ini`
      : `let it read its address from ${source.urlIn}`;
  const closed = await scratch.whileClosed(() => program.ask());
  if (closed.end === 'exit' && closed.code === 0) {
    refuse(
      'OtherDatabase',
      `'${name}' had an answer while the scratch clone took no session, so it asks another database than the one in ${source.urlIn}, expected that one; ${reads}`,
    );
  }
  mustPass(await program.ask(), `'${name}', asked with the address in ${source.urlIn},`);
}

class Trial {
  private readonly params: MigrateParams;
  private readonly program: Program;
  private readonly scratch: Scratch;
  private readonly source: ProgramSource;
  private readonly scripts: Record<string, string>;
  private readonly context: PhaseContext;
  private readonly made: Made = new Set();
  private readonly tried: Pick<Tried, 'findings' | 'lossy' | 'destroyed' | 'withoutDown'> = {
    findings: [],
    lossy: [],
    destroyed: [],
    withoutDown: [],
  };

  constructor(
    params: MigrateParams,
    program: Program,
    scratch: Scratch,
    source: ProgramSource,
    scripts: Record<string, string>,
    context: PhaseContext,
  ) {
    this.params = params;
    this.program = program;
    this.scratch = scratch;
    this.source = source;
    this.scripts = scripts;
    this.context = context;
  }

  async run(start: string | null, pending: readonly string[]): Promise<Tried> {
    const missing = await missingTables(this.scratch.connection, this.source.state);
    const structureBefore = digestOf(await structureOf(this.scratch.connection));
    const first = await this.structure();
    let before = start;
    let things = await thingsOf(this.scratch.connection);
    const original = things;
    let now = first;
    for (const [index, revision] of pending.entries()) {
      this.context.progress({ done: index, total: pending.length, unit: 'revisions', detail: revision });
      const state = await this.program.stateAfter(before, revision);
      await this.judge(revision);
      const after = await this.go(state, 'UpFails', () => this.program.up(revision));
      const afterUp = await thingsOf(this.scratch.connection);
      const gone = goneOf(original, afterUp).filter((one) => !goneOf(original, things).includes(one));
      for (const what of unnamed(gone, this.tried.destroyed))
        this.tried.destroyed.push(`${revision} destroys ${what}`);
      if (!this.params.forGood) {
        await this.go(before, 'DownFails', () => this.program.down(revision, before));
        if (before === start) await dropEmpty(this.scratch.connection, missing);
        const down = await this.structure();
        const own = this.source.state.map((table) => `table ${stateTable(table).replace(/^public\./, '')}`);
        const lost = goneOf(afterUp, await thingsOf(this.scratch.connection));
        for (const what of unnamed(lost, this.tried.lossy).filter((one) => !own.includes(one)))
          this.tried.lossy.push(`${revision} down loses ${what}, ${SINCE}`);
        this.compare(
          'DownDiffers',
          `The downgrade of ${revision} does not bring back what was there before`,
          now,
          down,
        );
        const again = await this.go(state, 'UpFails', () => this.program.up(revision));
        this.compare(
          'UpDiffers',
          `The upgrade to ${revision} does something else when it is run again`,
          withoutRows(after),
          withoutRows(again),
        );
      }
      now = after;
      before = state;
      things = await thingsOf(this.scratch.connection);
    }
    return {
      ...this.tried,
      indexes: {},
      made: [...this.made],
      structureBefore,
      structureAfter: digestOf(await structureOf(this.scratch.connection)),
      changes: difference(withoutRows(first), withoutRows(now)),
    };
  }

  private structure(): Promise<string[]> {
    return lookOf(this.scratch.connection, this.source.state.map(stateTable));
  }

  private async go(
    wanted: string | null,
    code: Code,
    act: () => ReturnType<Program['up']>,
  ): Promise<string[]> {
    const done = await act();
    const revision = await this.program.where();
    if (revision === wanted && done.end === 'exit' && done.code === 0) return await this.structure();
    const name = `'${this.params.source}' to ${wanted ?? 'its beginning'}`;
    return refuse(
      code,
      `${name} ${howItEnded(done)} on the scratch clone, which stands at ${revision ?? 'its beginning'}: ${said(done)}; correct it and plan again`,
    );
  }

  private compare(code: Code, sentence: string, expected: readonly string[], found: readonly string[]): void {
    const differs = difference(expected, found);
    if (differs.length > 0)
      refuse(code, `${sentence}: ${named(differs)}, expected no difference; correct it and plan again`);
  }

  /** A program that cannot tell its statements is tried all the same, and people are told that nobody judged it. */
  private async judge(revision: string): Promise<void> {
    const up = await this.program.sql('upgrade', revision);
    if (up === undefined) {
      this.scripts[revision] = NOT_KNOWN;
      const found = `of '${this.params.source}' cannot be judged, as the program does not tell its statements`;
      const rewrite =
        this.source.is === 'alembic'
          ? 'make env.py and the revision work with --sql'
          : 'read it with the same eyes';
      this.tried.findings.push({
        rule: 'NotAnalysed',
        object: revision,
        file: revision,
        line: 1,
        found,
        rewrite,
      });
      return;
    }
    this.scripts[revision] = await digestOfSql(`${revision}.up`, up);
    const findingsBefore = this.tried.findings.length;
    for (const script of await transactionsOf(`${revision}.up`, up)) {
      const world = lintWorld(this.scratch.connection, script, this.made, this.params.forGood);
      this.tried.findings.push(...judgeWhole(script, this.made));
      for (const statement of script.statements) {
        const found = await judge(script, statement, world);
        this.tried.findings.push(...found);
        this.tried.destroyed.push(
          ...destroyedOf(found),
          ...destroyedBy({ ...script, statements: [statement] }, this.made),
        );
        note(this.made, statement);
      }
    }
    // PostgreSQL itself refuses it, and its own words would not say what to write.
    const alone = this.tried.findings.find((one) => one.rule === 'ConcurrentInTransaction');
    if (alone !== undefined) refuse('UpFails', findingText(alone));
    const down = await this.program.sql('downgrade', revision);
    if (down === undefined) return;
    this.scripts[`${revision}.down`] = await digestOfSql(`${revision}.down`, down);
    const findings = this.tried.findings.slice(findingsBefore);
    const name = `${revision}.up`;
    for (const script of await transactionsOf(`${revision}.down`, down)) {
      const whole = { version: revision, name: revision, up: { ...script, file: name }, down: script };
      this.tried.lossy.push(...lostByDown(whole, findings));
    }
  }
}
