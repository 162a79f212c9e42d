import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseEnvironment } from '../../procedures/environment.ts';
import { PROCEDURES } from '../../procedures/index.ts';
import { render } from '../../procedures/problem.ts';
import { parseRunbook } from '../../procedures/runbook.ts';
import { demo, planText, problemOf, shipped } from './support.ts';

const pages = [
  'runbook-language.md',
  ...Object.keys(PROCEDURES).map((kind) => `procedures/${kind.replace('.', '-')}.md`),
];
const blocks = pages.flatMap((page) =>
  [...shipped(`docs/${page}`).matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, text = ''], index) => ({
    page,
    index: index + 1,
    text,
  })),
);

test.each(pages)('%s has an example', (page) => {
  expect(blocks.filter((block) => block.page === page).length).toBeGreaterThan(0);
});

/** The demo environment with the targets and windows that the page itself shows. */
function environmentOf(page: string) {
  const shown = blocks
    .filter((block) => block.page === page && block.text.startsWith('environment:'))
    .map(({ text }) => parseEnvironment(text, 'x.yaml'));
  const environment = demo();
  return {
    ...environment,
    targets: Object.assign({}, environment.targets, ...shown.map(({ targets }) => targets)),
    windows: Object.assign({}, ...shown.map(({ windows }) => windows)),
  };
}

/** The runbooks that the page shows use each other by their names. */
function runbooks(name: string) {
  const shown = blocks.find(
    ({ text }) => text.startsWith(`name: ${name} `) || text.startsWith(`name: ${name}\n`),
  );
  return shown === undefined ? undefined : parseRunbook(shown.text, 'runbook.yaml');
}

test.each(blocks)('example $index of $page compiles', ({ page, text }) => {
  const environment = environmentOf(page);
  const value: unknown = parse(text);
  if (Array.isArray(value)) {
    const indented = text.split('\n').map((line) => `  ${line}\n`);
    expect(planText(`name: x\nsteps:\n${indented.join('')}`, { environment }).phases.length).toBeGreaterThan(
      0,
    );
  } else if (text.startsWith('environment:')) {
    expect(Object.keys(parseEnvironment(text, 'x.yaml').targets).length).toBeGreaterThan(0);
  } else {
    expect(planText(text, { environment, runbooks }).phases.length).toBeGreaterThan(0);
  }
});

test.each(Object.entries(PROCEDURES))(
  'the page of %s names every output, phase and param',
  (kind, procedure) => {
    const page = shipped(`docs/procedures/${kind.replace('.', '-')}.md`);
    expect(page.startsWith(`# ${kind}\n`)).toBe(true);
    for (const output of Object.keys(procedure.output.shape)) expect(page).toContain(`\`${output}\``);
  },
);

test('the error that the language page shows is the one that is given', () => {
  const page = shipped('docs/runbook-language.md');
  const text =
    /```yaml\n([\s\S]*?)```/
      .exec(page)?.[1]
      ?.replace('    approval:', '    aproval:')
      .replace(/(aproval: .*?\} \}).*/, '$1') ?? '';
  const problem = problemOf(() => parseRunbook(text, 'runbooks/first.yaml'));
  expect(page).toContain(render(problem, text));
});

test('every kind has its page, and every page of a kind its kind', () => {
  const kinds = Object.keys(PROCEDURES).map((kind) => `${kind.replace('.', '-')}.md`);
  expect(readdirSync(new URL('../../docs/procedures', import.meta.url))).toEqual(kinds.sort());
});
