/** Reads test/fixtures/continuity in Node: data written by a build of commit 85ff786. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import type { IdentityOptions, ModelIdentity } from '../../src/search.ts';
import type { DINOv2Config, PcaJSON } from '../../src/index.ts';

export const indexNames = ['images', 'extras', 'compacted'] as const;

export const fixture = (name: string): Buffer<ArrayBuffer> =>
  readFileSync(fileURLToPath(new URL(`../fixtures/continuity/${name}`, import.meta.url)));
export const jsonFixture = <T>(name: string): T => JSON.parse(fixture(name).toString()) as T;

/** models.json: fingerprints, and the identities of tiny-plain for several sets of options. */
export interface KeptModels {
  readonly config: DINOv2Config;
  readonly synthetic: string;
  readonly plain: string;
  readonly registers: string;
  readonly swiglu: string;
  /** Fingerprint of the checkpoint in the cache entries. */
  readonly continuity: string;
  readonly identities: readonly { readonly options: IdentityOptions; readonly identity: ModelIdentity }[];
}

/** pca.json: PCA bases, and the picture of each for one forward of tiny-registers. */
export interface KeptPca {
  readonly height: number;
  readonly width: number;
  /** `rgba` is base64. */
  readonly pictures: readonly { readonly json: PcaJSON; readonly rgba: string }[];
}

/** A weight cache entry: its folder name and its files. */
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

/** The checkpoint file in the cache entries. */
export const keptWeights = (): Buffer => gunzipSync(fixture('model.safetensors.gz'));
