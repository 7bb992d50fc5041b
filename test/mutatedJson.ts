// Mutations of JSON, for fuzz tests.
import type { Random } from './random.ts';

/** Values that take the place of others. */
export const VALUES: readonly unknown[] = [
  null,
  true,
  -1,
  0,
  1.5,
  5,
  1e9,
  '',
  '__proto__',
  'f16',
  [],
  [[]],
  {},
  { toString: 1 },
  'x'.repeat(2000),
];

/** Replaces, removes or repeats a random value of a JSON text. */
export function mutatedJson(text: string, random: Random): string {
  if (text.startsWith('[[[[')) return text; // an earlier mutation nested it too deeply for JSON.stringify
  if (random.next() < 0.1) return text.slice(0, random.integer(0, text.length));
  if (random.next() < 0.05) return '['.repeat(20_000) + ']'.repeat(20_000);
  const holder: { json?: unknown } = {};
  try {
    holder.json = JSON.parse(text);
  } catch {
    return text; // an earlier mutation broke it
  }
  let [parent, key]: [Record<string, unknown>, string] = [holder as Record<string, unknown>, 'json'];
  while (random.next() < 0.8) {
    const value = parent[key];
    if (typeof value !== 'object' || value === null) break;
    const keys = Object.keys(value);
    if (keys.length === 0) break;
    [parent, key] = [value as Record<string, unknown>, random.pick(keys)];
  }
  const kind = random.integer(0, 3);
  if (kind === 0 && Array.isArray(parent)) parent.splice(Number(key), 1);
  else if (kind === 1 && Array.isArray(parent)) parent.push(parent[Number(key)]);
  else if (kind === 2 && parent !== holder) delete parent[key];
  else parent[key] = random.pick(VALUES);
  return JSON.stringify(holder.json) ?? 'null';
}
