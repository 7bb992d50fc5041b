/** What a build of commit 85ff786 has kept: test/fixtures/continuity, as Node reads it. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import type { IdentityOptions, ModelIdentity } from '../../src/search.ts';
import type { DINOv2Config, PcaJSON } from '../../src/index.ts';

export const indexNames = ['images', 'extras', 'compacted'] as const;

export const fixture = (name: string): Buffer<ArrayBuffer> =>
  readFileSync(fileURLToPath(new URL(`../fixtures/continuity/${name}`, import.meta.url)));
export const jsonFixture = <T>(name: string): T => JSON.parse(fixture(name).toString()) as T;

/** models.json: fingerprints, and the identity of tiny-plain for some sets of options. */
export interface KeptModels {
  readonly config: DINOv2Config;
  readonly synthetic: string;
  readonly plain: string;
  readonly registers: string;
  readonly swiglu: string;
  /** Of the checkpoint that the cache entries are of. */
  readonly continuity: string;
  readonly identities: readonly { readonly options: IdentityOptions; readonly identity: ModelIdentity }[];
}

/** pca.json: bases, and the picture that each made of one forward of tiny-registers. */
export interface KeptPca {
  readonly height: number;
  readonly width: number;
  /** `rgba`: base64. */
  readonly pictures: readonly { readonly json: PcaJSON; readonly rgba: string }[];
}

/** An entry of the weight cache: its folder's name, and its files. */
export interface KeptEntry {
  readonly key: string;
  readonly files: readonly (readonly [name: string, bytes: Buffer])[];
}

export function keptEntry(name: 'complete' | 'interrupted'): KeptEntry {
  const bytes = gunzipSync(fixture(`cache.${name}.gz`));
  let at = bytes.indexOf('\n') + 1;
  const [key, list] = JSON.parse(bytes.toString('utf8', 0, at)) as [string, [string, number][]];
  return { key, files: list.map(([file, length]) => [file, bytes.subarray(at, (at += length))]) };
}

/** The checkpoint that the cache entries are of. */
export const keptWeights = (): Buffer => gunzipSync(fixture('model.safetensors.gz'));
