/**
 * Statements that belong to no migration. Those of the whole server would be done for good when they are tried, since the
 * scratch clone shares the server; those of a session end with it; some change how the rest of a file is read.
 */
import type { Node, VariableSetStmt } from 'libpg-query';
import { kindOf } from './sql.ts';

const SERVER = 'it changes the whole server and not this database alone, and a clone does not keep it apart';
const SESSION = 'it is of a session, and each migration has its own';

const REFUSED: Readonly<Record<string, string>> = {
  CreatedbStmt: SERVER,
  DropdbStmt: SERVER,
  AlterDatabaseStmt: SERVER,
  AlterDatabaseSetStmt: SERVER,
  AlterDatabaseRefreshCollStmt: SERVER,
  AlterSystemStmt: SERVER,
  CreateTableSpaceStmt: SERVER,
  DropTableSpaceStmt: SERVER,
  AlterTableSpaceOptionsStmt: SERVER,
  CreateRoleStmt: SERVER,
  AlterRoleStmt: SERVER,
  AlterRoleSetStmt: SERVER,
  DropRoleStmt: SERVER,
  GrantRoleStmt: SERVER,
  DropOwnedStmt: SERVER,
  ReassignOwnedStmt: SERVER,
  CheckPointStmt: SERVER,
  CreateSubscriptionStmt: SERVER,
  AlterSubscriptionStmt: SERVER,
  DropSubscriptionStmt: SERVER,
  DiscardStmt: SESSION,
  ListenStmt: SESSION,
  UnlistenStmt: SESSION,
  PrepareStmt: SESSION,
  ExecuteStmt: SESSION,
  DeallocateStmt: SESSION,
  LoadStmt: SESSION,
  CopyStmt: 'it reads or writes what is outside of the database',
};

const SHARED = new Set([
  'OBJECT_ROLE',
  'OBJECT_DATABASE',
  'OBJECT_TABLESPACE',
  'OBJECT_SUBSCRIPTION',
  'OBJECT_PARAMETER_ACL',
]);

/** What a block of code says to change roles, as far as a look at its text can tell. */
const ROLES_IN_CODE =
  /\b(?:create|alter|drop)\s+(?:role|user(?!\s+mapping\b)|group|database|tablespace|subscription|system)\b|\bgrant\s+\w+\s+to\b/i;
const COMMENTS = /--[^\n]*|\/\*[\s\S]*?\*\//g;

/** Why a statement cannot stand in a migration; undefined where it can. */
export function whyRefused(node: Node): string | undefined {
  const plain = REFUSED[kindOf(node)];
  if (plain !== undefined) return plain;
  if (SHARED.has(objectTypeOf(node))) return SERVER;
  if ('DoStmt' in node && ROLES_IN_CODE.test(codeOf(node.DoStmt.args).replace(COMMENTS, ' '))) return SERVER;
  if ('VariableSetStmt' in node) return whyNotSet(node.VariableSetStmt);
  return undefined;
}

function objectTypeOf(node: Node): string {
  if ('RenameStmt' in node) return node.RenameStmt.renameType ?? '';
  if ('AlterOwnerStmt' in node) return node.AlterOwnerStmt.objectType ?? '';
  if ('CommentStmt' in node) return node.CommentStmt.objtype ?? '';
  if ('SecLabelStmt' in node) return node.SecLabelStmt.objtype ?? '';
  if ('GrantStmt' in node) return node.GrantStmt.objtype ?? '';
  return '';
}

function codeOf(args: readonly Node[] | undefined): string {
  return (args ?? [])
    .flatMap((one) => ('DefElem' in one && one.DefElem.arg !== undefined ? [one.DefElem.arg] : []))
    .map((one) => ('String' in one ? (one.String.sval ?? '') : ''))
    .join(' ');
}

/** Settings under which the parser here and the server would read the rest of the file differently, and their one value. */
const READING: Readonly<Record<string, RegExp>> = {
  client_encoding: /^utf-?8$/i,
  standard_conforming_strings: /^(?:on|true|1)$/i,
  backslash_quote: /^safe_encoding$/i,
};

function whyNotSet({ name = '', kind, args }: VariableSetStmt): string | undefined {
  const allowed = READING[name.toLowerCase()];
  if (allowed === undefined || kind !== 'VAR_SET_VALUE') return undefined;
  if (allowed.test(constantOf(args?.[0]) ?? '')) return undefined;
  return 'the rest of the file would be read as something else';
}

/** The text of a constant; undefined for anything else. */
export function constantOf(node: Node | undefined): string | undefined {
  if (node === undefined || !('A_Const' in node)) return undefined;
  const { sval, ival, boolval } = node.A_Const;
  if (sval !== undefined) return sval.sval ?? '';
  if (boolval !== undefined) return boolval.boolval === true ? 'on' : 'off';
  return ival === undefined ? undefined : String(ival.ival ?? 0);
}

const OF_TRANSACTIONS = new Set([
  'TRANSACTION',
  'TRANSACTION SNAPSHOT',
  'SESSION CHARACTERISTICS',
  'transaction_isolation',
  'transaction_read_only',
  'transaction_deferrable',
  'default_transaction_isolation',
  'default_transaction_read_only',
  'default_transaction_deferrable',
]);

/** SET TRANSACTION and its kin: the history row stands in the same transaction. */
export function setsTransaction(node: Node): boolean {
  return 'VariableSetStmt' in node && OF_TRANSACTIONS.has(node.VariableSetStmt.name ?? '');
}
