// For every n: the n-th call of WebGPU of a load, a forward pass, a search, … fails, in each way in which it can.
// `.ci/run` makes one failure in four happen, `npm run test:long` all of them, which takes about ten minutes.
import { expect, test } from 'vitest';
import { long } from '../full.ts';
import { sharedDevice } from '../gpu/sharedDevice.ts';
import { everyFault } from './everyFault.ts';
import { subjects } from './subjects.ts';

const EVERY = long ? 1 : 4;

const device = await sharedDevice();

test.each(Object.entries(subjects))('%s', async (name, make) => {
  const { tried, rejected, problems } = await everyFault(device, make, EVERY);
  console.log(`${name}: ${tried} failures, ${rejected} rejected`);
  expect(problems).toEqual([]);
  expect(tried).toBeGreaterThan(50 / EVERY);
});
