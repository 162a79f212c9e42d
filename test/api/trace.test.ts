import { defaultPayloadConverter } from '@temporalio/common';
import { expect, test } from 'vitest';
import type { RunDetailWire } from '../../cli/wire.ts';
import { makeEngine, withDigests } from '../support/engine.ts';
import { approval, makePlan } from '../support/plans.ts';
import { makeTestApi } from './support.ts';

const TRACE = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

test('the names of a request stand with the start and the update that it makes in Temporal', async () => {
  await using engine = await makeEngine();
  await using api = await makeTestApi({ engine });
  const plan = withDigests(
    makePlan([{ id: 'one', phases: [{ name: 'b', effect: 'reversible', approval: approval({ sre: 1 }) }] }]),
  );
  const { run } = await api.ok<{ run: number }>('dana', '/v1/runs', {
    body: { plan: await api.savePlan(plan) },
    headers: { 'X-Request-Id': 'start-0001', traceparent: TRACE },
  });
  let detail = await api.ok<RunDetailWire>('dana', `/v1/runs/${run}`);
  const deadline = Date.now() + 20_000;
  while (detail.approvals.length === 0) {
    if (Date.now() > deadline) throw new Error('Nothing is asked.');
    detail = await api.ok<RunDetailWire>('dana', `/v1/runs/${run}`);
  }
  const { plan: hash, approvals } = detail;
  await api.ok('ana', `/v1/runs/${run}/decisions`, {
    body: { step: 'one', decision: 'approve', plan: hash, evidence: approvals[0]?.evidence },
    headers: { 'X-Request-Id': 'vote-0001' },
  });

  const handle = api.client.workflow.getHandle(`${engine.taskQueue}/run/${run}`);
  const description = await handle.describe();
  expect(description.memo).toMatchObject({ requestId: 'start-0001', traceparent: TRACE });
  const { events } = await handle.fetchHistory();
  const named = (events ?? []).flatMap((event) => {
    const header =
      event.workflowExecutionStartedEventAttributes?.header ??
      event.workflowExecutionUpdateAcceptedEventAttributes?.acceptedRequest?.input?.header;
    const fields = Object.entries(header?.fields ?? {});
    return fields.map(([name, payload]) => [name, defaultPayloadConverter.fromPayload(payload)]);
  });
  expect(new Set(named.map((one) => one.join(' ')))).toEqual(
    new Set(['requestId start-0001', 'requestId vote-0001', `traceparent ${TRACE}`]),
  );
});
