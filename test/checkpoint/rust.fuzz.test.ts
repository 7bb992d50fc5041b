/**
 * Mutated safetensors files against the Rust reader: whatever that reader refuses, this library refuses; what both
 * accept has the same tensors. Its results are a fixture, which scripts/make-fixtures/make_mutated.py writes.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parseSafetensors, SafetensorsError } from '../../src/safetensors.ts';
import { mutatedSafetensors, ORACLE } from './mutated.ts';

const rust = JSON.parse(
  readFileSync(new URL('../fixtures/mutated/safetensors.json', import.meta.url), 'utf8'),
) as { files: string; accepted: Record<string, string> };

/** The tensors of a file as the fixture has them; undefined if the library refuses the file. */
function tensorsOf(bytes: Uint8Array<ArrayBuffer>): string | undefined {
  try {
    const { tensors } = parseSafetensors(bytes);
    const lines = [...tensors].map(([name, { dtype, shape, begin, end }]) => {
      const data = createHash('sha256').update(bytes.subarray(begin, end)).digest('hex');
      return `${Buffer.from(name).toString('hex')} ${dtype} ${shape.join()} ${data}\n`;
    });
    return createHash('sha256').update(lines.sort().join('')).digest('hex').slice(0, 10);
  } catch (error) {
    if (error instanceof SafetensorsError) return undefined;
    throw error;
  }
}

test(`${ORACLE.files} files`, () => {
  const files = mutatedSafetensors(ORACLE.seed);
  const every = createHash('sha256');
  const wrong: string[] = [];
  let both = 0;
  for (let i = 0; i < ORACLE.files; i++) {
    const bytes = files.next().value;
    every.update(bytes);
    const found = tensorsOf(bytes);
    const expected = rust.accepted[i];
    if (found === undefined) continue;
    if (found === expected) both += 1;
    else
      wrong.push(
        `file ${i}: expected ${expected ?? 'a refusal'}, found ${found}: ${Buffer.from(bytes).toString('latin1')}`,
      );
  }
  expect(every.digest('hex'), 'the files have changed: run make_mutated.py again').toBe(rust.files);
  expect(wrong).toEqual([]);
  console.log(`${both} of ${Object.keys(rust.accepted).length} that the Rust reader accepts`);
  expect(both).toBeGreaterThan(Object.keys(rust.accepted).length / 2);
});
