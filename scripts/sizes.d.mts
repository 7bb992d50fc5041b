/** A chunk that the bundler wrote. */
export interface Chunk {
  readonly name: string;
  readonly code: string;
  readonly isEntry: boolean;
  readonly imports: readonly string[];
}
export const IMPORTS: readonly (readonly [names: string, entry: string])[];
export const FIRST_FEATURES: readonly string[];
export function use(names: string, entry: string): string;
export function bundle(folder: string, script: string): Promise<ReadonlyMap<string, Chunk>>;
export function bytesOf(chunks: ReadonlyMap<string, Chunk>, lazy?: readonly string[]): number;
