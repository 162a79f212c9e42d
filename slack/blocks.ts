/** The few blocks of Block Kit that messages are made of, each within its own limits whatever it is given. */
import type { Json } from '../procedures/plan.ts';

export type Block = { [member: string]: Json };

const HEADER_MAX = 150;
const SECTION_MAX = 3_000;
const FIELDS_MAX = 10;
const FIELD_MAX = 2_000;
const BUTTON_MAX = 75;
const CONFIRM_MAX = 300;

/** What all blocks of a message together may hold: Slack refuses more of either. */
export const BLOCKS_MAX = 45;
export const LETTERS_MAX = 12_000;

/** Text that is ours or was made safe before: it is cut between letters, never inside an escape or a mention. */
export function cut(text: string, max: number): string {
  if (text.length <= max) return text;
  const short = text
    .slice(0, max - 1)
    .toWellFormed()
    .replace(/\uFFFD$/, '');
  return `${short.replace(/(?:&[a-z]{0,3}|<[^<>]{0,60})$/, '')}…`;
}

const plain = (text: string, max: number): Block => ({
  type: 'plain_text',
  text: cut(text, max),
  emoji: false,
});
/** Verbatim: Slack makes no link and no mention of what looks like one. */
const marked = (text: string, max: number): Block => ({
  type: 'mrkdwn',
  text: cut(text, max),
  verbatim: true,
});

export const header = (text: string): Block => ({ type: 'header', text: plain(text, HEADER_MAX) });

export const section = (text: string, max = SECTION_MAX): Block => ({
  type: 'section',
  text: marked(text === '' ? '–' : text, Math.min(max, SECTION_MAX)),
});

export function fields(rows: readonly (readonly [label: string, text: string])[], max = 600): Block {
  const shown = rows
    .slice(0, FIELDS_MAX)
    .map(([label, text]) => marked(`*${label}*\n${text === '' ? '–' : text}`, Math.min(max, FIELD_MAX)));
  return { type: 'section', fields: shown };
}

export const context = (text: string): Block => ({
  type: 'context',
  elements: [marked(text === '' ? '–' : text, FIELD_MAX)],
});

export type Button = {
  action: string;
  label: string;
  style?: 'primary' | 'danger';
  confirm?: { title: string; text: string; yes: string };
};

export function actions(buttons: readonly Button[]): Block {
  return { type: 'actions', elements: buttons.map(button) };
}

function button({ action, label, style, confirm }: Button): Block {
  return {
    type: 'button',
    action_id: action,
    text: plain(label, BUTTON_MAX),
    ...(style === undefined ? {} : { style }),
    ...(confirm === undefined
      ? {}
      : {
          confirm: {
            title: plain(confirm.title, 100),
            text: plain(confirm.text, CONFIRM_MAX),
            confirm: plain(confirm.yes, 30),
            deny: plain('Back', 30),
          },
        }),
  };
}

/** The blocks with the message's id in each button: all that a click says of what it is about. */
export function withIds(blocks: readonly Json[], id: string): Block[] {
  return blocks.map((block) => {
    const one = block as Block;
    if (one['type'] !== 'actions' || !Array.isArray(one['elements'])) return one;
    return { ...one, elements: one['elements'].map((element) => ({ ...(element as Block), value: id })) };
  });
}

export type Input = {
  id: string;
  label: string;
  hint: string;
  min: number;
  max: number;
  optional: boolean;
};

export const input = ({ id, label, hint, min, max, optional }: Input): Block => ({
  type: 'input',
  block_id: id,
  optional,
  label: plain(label, 2_000),
  hint: plain(hint, 2_000),
  element: {
    type: 'plain_text_input',
    action_id: id,
    multiline: true,
    // Slack counts letters its own way; what is too short is said by us, in our words.
    ...(min > 0 ? { min_length: 1 } : {}),
    max_length: max,
  },
});

const MODAL_MAX = 24;

export function modal(row: {
  id: string;
  hidden: string;
  title: string;
  submit?: string;
  blocks: Block[];
}): Block {
  return {
    type: 'modal',
    callback_id: row.id,
    private_metadata: row.hidden,
    title: plain(row.title, MODAL_MAX),
    ...(row.submit === undefined ? {} : { submit: plain(row.submit, MODAL_MAX) }),
    close: plain('Back', MODAL_MAX),
    blocks: row.blocks,
  };
}
