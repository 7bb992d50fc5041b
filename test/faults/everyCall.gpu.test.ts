// A sample of everyCall.full.test.ts: some calls of WebGPU of a forward pass fail.
import { expect, test } from 'vitest';
import { sharedDevice } from '../gpu/sharedDevice.ts';
import { everyFault } from './everyFault.ts';
import { subjects } from './subjects.ts';

test('a forward pass of which one in 20 calls fails, and the next one', async () => {
  const make = subjects['a forward pass with layers, attentions and a mask'];
  const { tried, rejected, problems } = await everyFault(await sharedDevice(), make, 20);
  expect(problems).toEqual([]);
  expect(tried).toBeGreaterThan(10);
  expect(rejected).toBeGreaterThan(10);
});
