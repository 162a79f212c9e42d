/** What Slack takes of blocks, with its limits and in its words; what is not listed here is refused. */

export type Block = { type: string; block_id?: string; [member: string]: unknown };

const BLOCKS_A_MESSAGE_MAX = 50;
const BLOCKS_A_VIEW_MAX = 100;
/** Over all blocks of a message; found out by people, and not documented. */
const LETTERS_A_MESSAGE_MAX = 13_200;

type Report = (at: string, what: string) => void;
type Dict = Record<string, unknown>;

const isDict = (value: unknown): value is Dict =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** What is wrong with the blocks of a message or a view; empty where Slack would take them. */
export function blockProblems(blocks: unknown, where: 'message' | 'view'): string[] {
  const problems: string[] = [];
  const report: Report = (at, what) => problems.push(`[ERROR] ${what} [json-pointer:${at}]`);
  if (!Array.isArray(blocks)) return ['[ERROR] must be an array [json-pointer:/blocks]'];
  const max = where === 'message' ? BLOCKS_A_MESSAGE_MAX : BLOCKS_A_VIEW_MAX;
  if (blocks.length > max) report('/blocks', `no more than ${max} items allowed`);
  const ids = new Set<string>();
  for (const [index, block] of blocks.entries()) {
    const at = `/blocks/${index}`;
    if (!isDict(block)) {
      report(at, 'must be an object');
      continue;
    }
    const id = block['block_id'];
    if (id !== undefined && (typeof id !== 'string' || id.length > 255))
      report(`${at}/block_id`, 'must be less than 256 characters');
    if (typeof id === 'string' && ids.has(id)) report(`${at}/block_id`, 'is not unique');
    if (typeof id === 'string') ids.add(id);
    checkBlock(block, at, where, report);
  }
  return problems;
}

/** All letters of the texts of the blocks. */
export function lettersOf(blocks: unknown): number {
  if (Array.isArray(blocks)) return blocks.reduce((sum: number, one) => sum + lettersOf(one), 0);
  if (!isDict(blocks)) return 0;
  const own = typeof blocks['text'] === 'string' ? blocks['text'].length : 0;
  return own + Object.values(blocks).reduce((sum: number, one) => sum + lettersOf(one), 0);
}

export const isTooLong = (blocks: unknown): boolean => lettersOf(blocks) > LETTERS_A_MESSAGE_MAX;

function checkBlock(block: Dict, at: string, where: 'message' | 'view', report: Report): void {
  const only = (...keys: string[]) => {
    for (const key of Object.keys(block))
      if (!['type', 'block_id', ...keys].includes(key)) report(at, `invalid additional property: ${key}`);
  };
  switch (block['type']) {
    case 'header':
      only('text');
      return checkText(block['text'], `${at}/text`, { max: 150, types: ['plain_text'] }, report);
    case 'divider':
      return only();
    case 'section':
      only('text', 'fields', 'accessory', 'expand');
      return checkSection(block, at, report);
    case 'context': {
      only('elements');
      const elements = listOf(block['elements'], `${at}/elements`, 10, report);
      for (const [index, element] of elements.entries())
        checkText(element, `${at}/elements/${index}`, { max: 2_000 }, report);
      return;
    }
    case 'actions': {
      only('elements');
      const elements = listOf(block['elements'], `${at}/elements`, 25, report);
      const ids = elements.map((element) => (isDict(element) ? element['action_id'] : undefined));
      if (new Set(ids).size !== ids.length) report(`${at}/elements`, 'action_id is not unique');
      for (const [index, element] of elements.entries())
        checkButton(element, `${at}/elements/${index}`, report);
      return;
    }
    case 'input':
      only('label', 'element', 'hint', 'optional', 'dispatch_action');
      if (where === 'message') report(at, 'unsupported type: input');
      checkText(block['label'], `${at}/label`, { max: 2_000, types: ['plain_text'] }, report);
      if (block['hint'] !== undefined)
        checkText(block['hint'], `${at}/hint`, { max: 2_000, types: ['plain_text'] }, report);
      return checkInput(block['element'], `${at}/element`, report);
    default:
      return report(at, `unsupported type: ${String(block['type'])}`);
  }
}

function listOf(value: unknown, at: string, max: number, report: Report): unknown[] {
  if (!Array.isArray(value) || value.length === 0) {
    report(at, 'must have at least 1 item');
    return [];
  }
  if (value.length > max) report(at, `no more than ${max} items allowed`);
  return value;
}

function checkSection(block: Dict, at: string, report: Report): void {
  if (block['text'] === undefined && block['fields'] === undefined)
    report(at, 'missing required field: text');
  if (block['text'] !== undefined) checkText(block['text'], `${at}/text`, { max: 3_000 }, report);
  if (block['fields'] === undefined) return;
  const fields = listOf(block['fields'], `${at}/fields`, 10, report);
  for (const [index, field] of fields.entries())
    checkText(field, `${at}/fields/${index}`, { max: 2_000 }, report);
}

function checkText(
  text: unknown,
  at: string,
  asked: { max: number; types?: string[] },
  report: Report,
): void {
  const types = asked.types ?? ['plain_text', 'mrkdwn'];
  if (!isDict(text) || typeof text['type'] !== 'string' || !types.includes(text['type']))
    return report(at, `must be a ${types.join(' or ')} object`);
  const known = text['type'] === 'mrkdwn' ? ['type', 'text', 'verbatim'] : ['type', 'text', 'emoji'];
  for (const key of Object.keys(text))
    if (!known.includes(key)) report(at, `invalid additional property: ${key}`);
  const letters = text['text'];
  if (typeof letters !== 'string' || letters.length === 0)
    return report(`${at}/text`, 'must be more than 0 characters');
  if (letters.length > asked.max) report(`${at}/text`, `must be less than ${asked.max + 1} characters`);
}

function checkId(value: unknown, at: string, max: number, report: Report): void {
  if (typeof value !== 'string' || value.length === 0 || value.length > max)
    report(at, `must be less than ${max + 1} characters`);
}

function checkButton(button: unknown, at: string, report: Report): void {
  if (!isDict(button) || button['type'] !== 'button') return report(at, 'unsupported element');
  checkText(button['text'], `${at}/text`, { max: 75, types: ['plain_text'] }, report);
  checkId(button['action_id'], `${at}/action_id`, 255, report);
  if (button['value'] !== undefined) checkId(button['value'], `${at}/value`, 2_000, report);
  if (button['url'] !== undefined) checkId(button['url'], `${at}/url`, 3_000, report);
  if (button['style'] !== undefined && button['style'] !== 'primary' && button['style'] !== 'danger')
    report(`${at}/style`, 'must be primary or danger');
  const { confirm } = button;
  if (confirm === undefined) return;
  if (!isDict(confirm)) return report(`${at}/confirm`, 'must be an object');
  checkText(confirm['title'], `${at}/confirm/title`, { max: 100, types: ['plain_text'] }, report);
  checkText(confirm['text'], `${at}/confirm/text`, { max: 300 }, report);
  for (const key of ['confirm', 'deny'])
    checkText(confirm[key], `${at}/confirm/${key}`, { max: 30, types: ['plain_text'] }, report);
}

function checkInput(element: unknown, at: string, report: Report): void {
  if (!isDict(element) || element['type'] !== 'plain_text_input') return report(at, 'unsupported element');
  checkId(element['action_id'], `${at}/action_id`, 255, report);
  const max = element['max_length'];
  if (max !== undefined && (typeof max !== 'number' || max < 1 || max > 3_000))
    report(`${at}/max_length`, 'must be at most 3000');
}

/** What is wrong with a modal. */
export function viewProblems(view: unknown): string[] {
  const problems: string[] = [];
  const report: Report = (at, what) => problems.push(`[ERROR] ${what} [json-pointer:${at}]`);
  if (!isDict(view) || view['type'] !== 'modal') return ['[ERROR] must be a modal [json-pointer:/type]'];
  for (const key of ['title', 'submit', 'close']) {
    if (view[key] === undefined && key !== 'title') continue;
    checkText(view[key], `/${key}`, { max: 24, types: ['plain_text'] }, report);
  }
  checkId(view['callback_id'] ?? 'none', '/callback_id', 255, report);
  const hidden = view['private_metadata'];
  if (hidden !== undefined && (typeof hidden !== 'string' || hidden.length > 3_000))
    report('/private_metadata', 'must be less than 3001 characters');
  const blocks = view['blocks'];
  const hasInput = Array.isArray(blocks) && blocks.some((one) => isDict(one) && one['type'] === 'input');
  if (hasInput && view['submit'] === undefined) report('/submit', 'missing required field: submit');
  if (JSON.stringify(view).length > 250_000) report('', 'view_too_large');
  return [...problems, ...blockProblems(blocks, 'view')];
}
