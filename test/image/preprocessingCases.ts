/** Python's pixels for many configurations: scripts/make-fixtures/make_preprocessing.py, make_timm_preprocessing.py. */
import type { Preprocessing } from '../../src/image/preprocessing.js';
import { parsePreprocessorConfig, timmPreprocessing } from '../../src/image/preprocessorConfig.js';
import { digest } from './fixtures.js';
import { read } from './files.js';

type Case =
  | readonly [
      config: number,
      width: number,
      height: number,
      outHeight: number,
      outWidth: number,
      sha256: string,
    ]
  | readonly [config: number, width: number, height: number, error: string];

interface CaseFile {
  readonly configs: readonly object[];
  readonly refused?: readonly (readonly [config: object, error: string])[];
  readonly cases: readonly Case[];
}

const load = (name: string): CaseFile =>
  JSON.parse(new TextDecoder().decode(read(`test/fixtures/preprocessing/${name}.json`))) as CaseFile;

export const transformersFile = load('transformers');
export const timmFile = load('timm');

export interface PreprocessingCase {
  /** Index of the case in its fixture file. */
  readonly index: number;
  readonly config: object;
  readonly preprocessing: Preprocessing;
  readonly width: number;
  readonly height: number;
  /** `height width digest`, or the class of Python's error. */
  readonly expected: string;
}

const casesOf = (
  { configs, cases }: CaseFile,
  parse: (config: object) => Preprocessing,
): readonly PreprocessingCase[] => {
  const parsed = configs.map(parse);
  return cases.map(([config, width, height, ...expected], index) => ({
    index,
    config: configs[config]!,
    preprocessing: parsed[config]!,
    width,
    height,
    expected: expected.join(' '),
  }));
};

export const transformersCases = (): readonly PreprocessingCase[] =>
  casesOf(transformersFile, (config) => parsePreprocessorConfig(config));

export const timmCases = (): readonly PreprocessingCase[] =>
  casesOf(timmFile, (pretrained_cfg) => timmPreprocessing({ architecture: 'vit', pretrained_cfg })!);

/** Runs `make` and formats its result like `Case.expected`. */
export async function outcomeOf(
  make: () =>
    | { data: Float32Array<ArrayBuffer>; height: number; width: number }
    | Promise<{ data: Float32Array<ArrayBuffer>; height: number; width: number }>,
): Promise<string> {
  try {
    const { data, height, width } = await make();
    return `${height} ${width} ${await digest(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))}`;
  } catch (error) {
    // Python raises ValueError if an image becomes empty or too large.
    if ((error as { code?: string }).code === 'IMAGE_SIZE') return 'ValueError';
    throw error;
  }
}
