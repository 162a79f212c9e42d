import { expect, test } from 'vitest';
import { parseEnvironment } from '../../procedures/environment.ts';
import { quorumPossible, quorumPossibleForAnyone } from '../../procedures/quorum.ts';

const environment = (groups: string, operators = '[dana]') =>
  parseEnvironment(
    `environment: x\npeople: { ana: {}, ben: {}, dana: {}, eva: {}, olu: {} }\nroles: { operator: ${operators} }\ngroups: ${groups}`,
    'x.yaml',
  );
const asked = (from: Record<string, number>) => ({ from });

test('an approval that enough people can give is possible', () => {
  const known = environment('{ sre: [ana, ben], owner: [olu, dana] }');
  expect(quorumPossible('database', asked({ sre: 1, owner: 1 }), known, 'dana')).toBeUndefined();
  expect(quorumPossible('database', asked({ sre: 2, owner: 2 }), known)).toBeUndefined();
});

test.each([
  [
    'the only member asks',
    '{ security: [eva] }',
    { security: 1 },
    'eva',
    'go-live needs 1 person of security, and its only member, eva, asks for this run.',
  ],
  [
    'nobody is in the group',
    '{ security: [] }',
    { security: 1 },
    'eva',
    'go-live needs 1 person of security, and it has no members.',
  ],
  [
    'too few are in the group',
    '{ sre: [ana] }',
    { sre: 2 },
    'eva',
    'go-live needs 2 people of sre, and 1 can vote for it (ana).',
  ],
  [
    'the requester is one of two',
    '{ sre: [ana, dana] }',
    { sre: 2 },
    'dana',
    'go-live needs 2 people of sre, and 1 can vote for it (ana); dana asks for this run.',
  ],
  [
    'one person would count twice',
    '{ sre: [ana], owner: [ana] }',
    { sre: 1, owner: 1 },
    'eva',
    'go-live needs 1 person of sre, and only ana can vote for it, who is needed for owner too: a person counts once.',
  ],
])('it is impossible where %s', (_, groups, from, requester, message) => {
  expect(
    quorumPossible('go-live', asked(from as Record<string, number>), environment(groups), requester),
  ).toBe(message);
});

test('people are seated so that as many votes as possible are given', () => {
  // ana could sit for either group; only when she sits for owner is there somebody for both.
  expect(
    quorumPossible(
      'a',
      asked({ owner: 1, sre: 1 }),
      environment('{ sre: [ana, ben], owner: [ana] }'),
      'dana',
    ),
  ).toBeUndefined();
  expect(
    quorumPossible(
      'a',
      asked({ owner: 1, sre: 1 }),
      environment('{ sre: [ana], owner: [ana, ben] }'),
      'dana',
    ),
  ).toBeUndefined();
});

test('a plan is refused only where no operator could ask for it', () => {
  const groups = '{ owner: [dana, olu], sre: [ana] }';
  expect(quorumPossibleForAnyone('a', asked({ owner: 2 }), environment(groups))).toBe(
    'a needs 2 people of owner, and 1 can vote for it (olu); dana asks for this run.',
  );
  expect(
    quorumPossibleForAnyone('a', asked({ owner: 2 }), environment(groups, '[dana, eva]')),
  ).toBeUndefined();
  expect(quorumPossibleForAnyone('a', asked({ owner: 2 }), environment(groups, '[dana, olu]'))).toBe(
    'Whoever of dana and olu asks: a needs 2 people of owner, and 1 can vote for it (olu); dana asks for this run.',
  );
  expect(quorumPossibleForAnyone('a', asked({ owner: 2 }), environment(groups, '[]'))).toBeUndefined();
});
