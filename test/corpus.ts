/**
 * The corpus of a fuzz test: inputs that are kept in `test/fixtures/corpus/`, one folder for each format. Each run
 * begins with them. The name of a file begins with the outcome that its input must have.
 *
 * An input that fails a fuzz test is added as `failed-…`; it passes once the fault is mended, whatever its outcome is.
 * Rename it then. `CORPUS_WRITE=1` adds the smallest input of each outcome that the corpus lacks, where inputs with the
 * same error code but different messages have different outcomes.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';

type Bytes = Uint8Array<ArrayBuffer>;
/**
 * Reads an input. Returns what happened: one word, or the code of an error and, after a colon, its message. Throws if
 * the reader fails.
 */
type Judge = (bytes: Bytes) => string | Promise<string>;

/** Larger inputs are not added for their outcome. */
const MOST_BYTES = 2048;

const digest = (data: Uint8Array | string): string =>
  createHash('sha256').update(data).digest('hex').slice(0, 10);

/** The first word of an outcome. */
export const codeOf = (outcome: string): string => outcome.split(':', 1)[0]!;

export class Corpus {
  readonly #folder: string;
  readonly #names: readonly string[];
  readonly #found = new Map<string, { readonly code: string; readonly bytes: Bytes }>();
  readonly #writes = process.env['CORPUS_WRITE'] === '1';

  constructor(format: string) {
    this.#folder = `test/fixtures/corpus/${format}`;
    this.#names = existsSync(this.#folder) ? readdirSync(this.#folder).sort() : [];
  }

  /** Reads all inputs of the corpus, and expects the outcomes in their names. */
  async replay(judge: Judge): Promise<void> {
    for (const name of this.#names) {
      const code = codeOf(await judge(new Uint8Array(readFileSync(`${this.#folder}/${name}`))));
      if (!name.startsWith('failed-')) expect(`${code}-${name.split('-').at(-1)}`).toBe(name);
    }
    expect(this.#names.length + Number(this.#writes), `${this.#folder} is empty`).toBeGreaterThan(0);
  }

  /** Adds an input that failed. Returns the path of its file. */
  keepFailed(bytes: Uint8Array): string {
    mkdirSync(this.#folder, { recursive: true });
    const path = `${this.#folder}/failed-${digest(bytes)}`;
    writeFileSync(path, bytes);
    return path;
  }

  /** Notes the outcome of an input. */
  note(bytes: Bytes, outcome: string): void {
    if (!this.#writes || bytes.length > MOST_BYTES) return;
    const key = digest(outcome.replaceAll(/"[^"]*"?|\d+/g, '#'));
    if ((this.#found.get(key)?.bytes.length ?? Infinity) <= bytes.length) return;
    this.#found.set(key, { code: codeOf(outcome), bytes: bytes.slice() });
  }

  /** Adds inputs of outcomes that the corpus lacks. Call it at the end of a run. */
  write(): void {
    for (const [key, { code, bytes }] of this.#found) {
      const name = `${code}-${key}`;
      if (this.#names.includes(name)) continue;
      mkdirSync(this.#folder, { recursive: true });
      writeFileSync(`${this.#folder}/${name}`, bytes);
    }
  }
}
