/**
 * Checkpoints that differ only in preprocessor_config.json, and the class tokens that Python computes with
 * them.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

export interface PreprocessorCase {
  readonly name: string;
  readonly preprocessor: Readonly<Record<string, unknown>>;
  /** Height and width of the model's input. */
  readonly pixels: readonly [number, number];
  /** Class token of the photograph, scaled to length 1. */
  readonly cls: readonly number[];
}

const file = JSON.parse(readFileSync(join(root, 'test/fixtures/preprocessor/cases.json'), 'utf8')) as {
  readonly photo: string;
  readonly cases: readonly PreprocessorCase[];
};

export const preprocessorCases: readonly PreprocessorCase[] = file.cases;
export const photoPath: string = join(root, file.photo);

export const caseOf = (name: string): PreprocessorCase =>
  preprocessorCases.find((each) => each.name === name)!;
export const textOf = (name: string): string => JSON.stringify(caseOf(name).preprocessor);

/** preprocessor_config.json of facebook/dinov2-small. */
export const facebookPreprocessor: string = textOf('default');

export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    aa += a[i]! ** 2;
    bb += b[i]! ** 2;
  }
  return dot / Math.sqrt(aa * bb);
}
