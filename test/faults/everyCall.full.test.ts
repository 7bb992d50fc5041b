// For every n: the n-th call of WebGPU of a load, a forward pass, a search, … fails, in each way in which it can.
import { expect, test } from 'vitest';
import { sharedDevice } from '../gpu/sharedDevice.ts';
import { everyFault } from './everyFault.ts';
import { subjects } from './subjects.ts';

const device = await sharedDevice();

test.each(Object.entries(subjects))('%s', async (name, make) => {
  const { tried, rejected, problems } = await everyFault(device, make);
  console.log(`${name}: ${tried} failures, ${rejected} rejected`);
  expect(problems).toEqual([]);
  expect(tried).toBeGreaterThan(50);
});
