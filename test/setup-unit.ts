// The files of the unit project share processes. Each imports modules of its own, and is checked for what it
// leaves to the next.
import { afterAll, expect, vi } from 'vitest';

vi.resetModules();

const watched: readonly (readonly [string, object])[] = [
  ['globalThis', globalThis],
  ['performance', performance],
  ['performance', Performance.prototype],
];
/** The values of an object's own properties, without accessors: Node replaces some of its own when they are first read. */
const valuesOf = (object: object): ReadonlyMap<string, unknown> =>
  new Map(
    Object.entries(Object.getOwnPropertyDescriptors(object)).flatMap(([name, { value, get }]) =>
      get ? [] : [[name, value as unknown]],
    ),
  );
const before = watched.map(([, object]) => valuesOf(object));
const environment = { ...process.env };
/** sharp sets it when it is imported. */
const allowed = 'VIPSHOME';

afterAll(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  const left: string[] = [];
  for (const [i, [name, object]] of watched.entries()) {
    const now = valuesOf(object);
    for (const [key, value] of before[i]!)
      if (!Object.is(now.get(key), value)) left.push(`${name}.${key} is changed`);
  }
  for (const key of new Set([...Object.keys(environment), ...Object.keys(process.env)]))
    if (key !== allowed && environment[key] !== process.env[key]) left.push(`process.env.${key} is changed`);
  expect(left, 'what this file leaves to the next').toEqual([]);
});
