// Option names: which names are accepted, and the error messages for the rest.
import { describe, expect, expectTypeOf, test } from 'vitest';
import type { RetryOptions } from '../src/io/retry.ts';
import { OptionError } from '../src/errors.ts';
import type { PreprocessingOptions } from '../src/image/preprocessing.ts';
import type {
  AskOptions,
  AttentionMapOptions,
  AttentionOptions,
  ClassifierFiles,
  ClassifyOptions,
  CorrespondenceOptions,
  DINOv2,
  EmbedAllOptions,
  FeatureOptions,
  HiddenStateOptions,
  IntermediateLayerOptions,
  LiveOptions,
  LoadOptions,
  ModelFiles,
  PcaDrawOptions,
  PcaFitOptions,
  PatchMapColorOptions,
  PatchSimilarityOptions,
  PixelOptions,
  PixelSize,
  MapDrawOptions,
  PretrainedOptions,
  SimilarityOptions,
  SegmenterFitOptions,
  SegmenterMapOptions,
  TrackerNextOptions,
  TrackerOptions,
  TuneOptions,
} from '../src/index.ts';
import { checkOptions, type OPTION_NAMES } from '../src/optionNames.ts';
import type {
  ClusterOptions,
  DescribeOptions,
  DuplicateOptions,
  ExportOptions,
  IdentityOptions,
  IndexHeader,
  IngestOptions,
  OpenOptions,
  SearchOptions,
} from '../src/search.ts';
import type { WorkerOptions } from '../src/worker.ts';

/** Union of the option names of all calls. */
type KeysOf<Options> = Options extends unknown ? keyof Options : never;
type AllNames = KeysOf<
  | LoadOptions
  | PretrainedOptions
  | RetryOptions
  | ModelFiles
  | NonNullable<Parameters<typeof DINOv2.synthetic>[1]>
  | FeatureOptions
  | PixelOptions
  | PreprocessingOptions
  | EmbedAllOptions
  | LiveOptions
  | PixelSize
  | TuneOptions
  | HiddenStateOptions
  | IntermediateLayerOptions
  | AttentionOptions
  | AttentionMapOptions
  | ClassifierFiles
  | ClassifyOptions
  | PcaFitOptions
  | PcaDrawOptions
  | PatchSimilarityOptions
  | CorrespondenceOptions
  | PatchMapColorOptions
  | SimilarityOptions
  | MapDrawOptions
  | SegmenterFitOptions
  | SegmenterMapOptions
  | TrackerOptions
  | TrackerNextOptions
  | AskOptions
  | WorkerOptions
  // The EmbeddingIndex constructor accepts the header of another index as options.
  | IndexHeader
  | OpenOptions
  | SearchOptions
  | DuplicateOptions
  | ExportOptions
  | ClusterOptions
  | IdentityOptions
  | DescribeOptions
  | IngestOptions
>;

test('OPTION_NAMES equals the keys of all option types', () => {
  // `prefix` and `preprocessor` are options of loading functions.
  expectTypeOf<(typeof OPTION_NAMES)[number]>().toEqualTypeOf<AllNames | 'prefix' | 'preprocessor'>();
});

const failure = (options: unknown): OptionError => {
  try {
    checkOptions('features', options);
  } catch (error) {
    expect(error).toBeInstanceOf(OptionError);
    return error as OptionError;
  }
  throw new Error('nothing was thrown');
};

describe('an unknown option name', () => {
  test.each([
    ['cropsize', 'cropSize'],
    ['crop_size', 'cropSize'],
    ['CropSize', 'cropSize'],
    ['crpSize', 'cropSize'],
    ['resise', 'resize'],
    ['siez', 'size'],
    ['poolling', 'pooling'],
    ['topk', 'topK'],
    ['layer', 'layers'],
    ['longestEdge', 'longestSide'],
    ['batchsize', 'batchSize'],
    ['onprogress', 'onProgress'],
    ['treshold', 'threshold'],
    ['revison', 'revision'],
  ])('%s is meant to be %s', (given, meant) => {
    const { code, message } = failure({ resize: 'crop', [given]: 1 });
    expect(code).toBe('OPTION_NAME');
    expect(message).toBe(`features: unknown option ${JSON.stringify(given)}. Did you mean "${meant}"?`);
  });

  test.each(['interpolation', 'x', '', '0', '%%%', 'é'.repeat(1000)])(
    '%s resembles no option: the message suggests none',
    (given) => {
      const { code, message } = failure({ [given]: undefined });
      expect(code).toBe('OPTION_NAME');
      expect(message).toMatch(
        /^features: unknown option ".*"\. No method has an option of this name\. Remove the option\.$/,
      );
      expect(message.length).toBeLessThan(200);
    },
  );

  test('__proto__ and constructor are unknown names too', () => {
    expect(failure(JSON.parse('{"__proto__": 1}')).code).toBe('OPTION_NAME');
    expect(failure({ constructor: 1 }).code).toBe('OPTION_NAME');
  });
});

describe('options that are not a plain object', () => {
  test.each([
    [null, 'null'],
    ['fit', 'String'],
    [['fit'], 'Array'],
    [224, 'Number'],
    [true, 'Boolean'],
    [() => 1, 'Function'],
    [new Map([['cropSize', 224]]), 'Map'],
    [new Blob([]), 'Blob'],
    [new Uint8Array(3), 'Uint8Array'],
    [new AbortController().signal, 'AbortSignal'],
  ])('%s', (options, found) => {
    const { code, message } = failure(options);
    expect(code).toBe('OPTION_VALUE');
    expect(message.toLowerCase()).toContain(
      `features: expected an object of options, found ${found.toLowerCase()}`,
    );
  });

  test('an AbortController instead of its signal', () => {
    expect(failure({ signal: new AbortController() })).toMatchObject({
      code: 'OPTION_VALUE',
      message: expect.stringContaining('expected signal to be an AbortSignal, found AbortController.'),
    });
  });
});

test('accepted: no options, options of other calls, and inherited or non-enumerable properties; getters are not read', () => {
  class Look {
    readonly cropSize = 224;
    get helper(): number {
      throw new Error('the getter was called');
    }
    inherited(): void {}
  }
  const hidden = Object.defineProperty({ [Symbol('mine')]: 1 }, 'mine', { value: 1 });
  const asked: string[] = [];
  const getter = {
    get topK(): number {
      asked.push('topK');
      return 5;
    },
  };
  const nothing: unknown[] = [undefined, {}, Object.create(null), { signal: null }];
  const shared = { resize: 'fit', topK: 5, threshold: 0.5, batchSize: 8, dtype: 'fp16', under: 'a' };
  for (const options of [...nothing, shared, new Look(), hidden, Object.create({ other: 1 }), getter])
    expect(checkOptions('features', options)).toBe(options);
  expect(asked).toEqual([]);
});
