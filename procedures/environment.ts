/**
 * The environment file: what a runbook may touch here, who the people are, and what must be approved at least. API and
 * worker each read their own copy. It holds references to secrets, never secrets.
 */
import type { ChangeFreeze } from './calendar.ts';
import { environmentProblems, environmentSchema } from './environment-schema.ts';
import type { Effect } from './plan.ts';
import { PlanProblem, type Problem } from './problem.ts';
import { problemsOf } from './schema.ts';
import type { Window } from './windows.ts';
import { readYaml } from './yaml.ts';

/** Where a secret is read, inside an activity and nowhere else. */
export type SecretRef = { env: string } | { file: string };

export type HttpTarget = {
  kind: 'http';
  url: string;
  /** Sent by `notify`, as a bearer token. */
  token?: SecretRef;
  /** The rest of the address for `notify`, where it is a secret: a chat's incoming webhook. */
  secretPath?: SecretRef;
  worker?: string;
};
export type SqliteTarget = { kind: 'sqlite'; path: string; worker?: string };
export type PostgresTarget = {
  kind: 'postgres';
  host: string;
  port: number;
  database: string;
  user: string;
  password?: SecretRef;
  tls: 'verify-full' | 'disable';
  worker?: string;
};
export type SwitchTarget = {
  kind: 'switch';
  url: string;
  token?: SecretRef;
  /** At least two. `database.import` needs four, by position: source, source held, target held, target. */
  values: string[];
  worker?: string;
};

/** A command of the operator's. No shell; its environment is `env` and nothing else. */
export type CommandTarget = {
  kind: 'command';
  /** The program and its first arguments; the runbook's come after them. */
  argv: string[];
  /** Takes it back; safe where it never ran, half ran or ran twice. Exit 0 says done. */
  undo?: string[];
  /** Whether it happened: exit 0 yes, 1 no, 2 partly, anything else unknown. */
  probe?: string[];
  /** Default: the run's own folder on the worker. */
  cwd?: string;
  env: Record<string, string | SecretRef>;
  /** What exits from 1 to 255 mean; `fail` where nothing is said. */
  exits: Record<string, 'pass' | 'warn' | 'fail' | 'inconclusive'>;
  effect: Effect;
  /** Milliseconds that one of its programs may take. */
  timeoutMs: number;
  worker?: string;
};

/** A program of migrations: its environment is `env`, the address of the database, and nothing else. */
type MigrationsProgram = {
  env: Record<string, string | SecretRef>;
  /** The variable that holds the address, and how the address begins. */
  urlIn: string;
  urlScheme: string;
  /** Tables in which it keeps where it stands; the dry run gets their rows. */
  state: string[];
  /** Default: the run's own folder on the worker. */
  cwd?: string;
  /** Milliseconds that one start of it may take. */
  timeoutMs: number;
};

/** Where `database.migrate` takes its migrations from. Nothing in it is ever changed. */
export type MigrationsTarget = {
  kind: 'migrations';
  source:
    | { is: 'folder'; path: string }
    | ({ is: 'alembic'; argv: string[] } & MigrationsProgram)
    | ({ is: 'command'; up: string[]; down: string[]; probe: string[] } & MigrationsProgram);
  worker?: string;
};

/** One thing that runbooks may touch. `worker` is the pool that can reach it, where it is not `default`. */
export type Target =
  | HttpTarget
  | SqliteTarget
  | PostgresTarget
  | SwitchTarget
  | CommandTarget
  | MigrationsTarget;

export type RoleName = 'operator' | 'admin' | 'auditor';
export type LeastEffect = 'reversible' | 'costly' | 'irreversible';

/** What an approval asks, as people write it; times in milliseconds. */
export type ApprovalAsked = {
  from: Record<string, number>;
  via?: 'any' | 'slack' | 'api';
  expiresMs?: number;
  remindEveryMs?: number;
  /** Whether who approves must say why. Default optional. */
  comment?: 'optional' | 'required';
};

export type Environment = {
  environment: string;
  /** No injected faults, and runbooks from the server's files only. Default false. */
  protected: boolean;
  targets: Record<string, Target>;
  /** One entry a human, so one vote. */
  people: Record<string, { email?: string; slack?: string }>;
  roles: Record<RoleName, string[]>;
  groups: Record<string, string[]>;
  /** Groups whose members Slack keeps, by the id of the user group. They stand in `groups` too once they were read. */
  slackGroups?: Record<string, string>;
  /** The channel in which the runs of this environment are told. */
  slack?: { channel: string };
  approvals: {
    least: Partial<Record<LeastEffect, ApprovalAsked>>;
    /** Groups that are called one after the other while nobody has decided. */
    escalate?: { afterMs: number; to: string }[];
    /** Two people and a reason may stand for everybody who is asked. */
    breakGlass?: true;
  };
  retention?: { leastMs: number };
  /** Hours in which a step may start. */
  windows?: Record<string, Window>;
  /** Dates on which no run starts. */
  changeFreezes?: ChangeFreeze[];
};

/** The environment that the text describes, every default filled in. Throws PlanProblem with all that is wrong. */
export function parseEnvironment(text: string, file: string): Environment {
  const source = readYaml(text, file, 'EnvironmentInvalid');
  const parsed = environmentSchema.safeParse(source.value);
  if (!parsed.success) {
    const at = { base: [], value: source.value, code: 'EnvironmentInvalid' as const };
    throw new PlanProblem(problemsOf(parsed.error, source, at));
  }
  const problems = environmentProblems(parsed.data, source);
  if (problems.length > 0) throw new PlanProblem(problems);
  return parsed.data;
}

/** What is wrong with an environment as a file of its own: it has the name of its file; `NAME.example.yaml` has any. */
export function environmentFileProblems({ environment }: Environment, text: string, file: string): Problem[] {
  const expected = /(?:^|\/)([^/.]*)\.ya?ml$/.exec(file)?.[1];
  if (expected === undefined || expected === environment) return [];
  const place = readYaml(text, file, 'EnvironmentInvalid').place(['environment']);
  const message = `The file describes environment '${environment}', expected '${expected}': an environment has the name of its file.`;
  return [{ ...place, code: 'EnvironmentInvalid', message, hint: `write  environment: ${expected}` }];
}

/** The roles that the file names the person in; everybody named in it is a viewer besides. */
export function rolesOf(environment: Environment, person: string): RoleName[] {
  const roles = ['operator', 'admin', 'auditor'] as const;
  return roles.filter((role) => environment.roles[role].includes(person));
}

/** The groups that the person is a member of, by name. */
export function groupsOf(environment: Environment, person: string): string[] {
  return Object.keys(environment.groups)
    .filter((group) => environment.groups[group]?.includes(person))
    .sort();
}
