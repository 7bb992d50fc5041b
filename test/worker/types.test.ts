// Compile-time check that the worker entry has the same API as the main entry. The tests list the
// differences.
import { expectTypeOf, test } from 'vitest';
import type * as Page from '../../src/index.ts';
import type * as InWorker from '../../src/worker.ts';

/**
 * The public members of a class, without the private ones that make TypeScript treat classes as different.
 */
type Public<Thing> = { [Key in keyof Thing]: Thing[Key] };
/** Replaces a type of the main entry by the worker's handle for it. */
type Swap<Type> = Type extends Page.Features
  ? InWorker.Features
  : Type extends Page.ImageClassifier
    ? InWorker.ImageClassifier
    : Type extends Page.PCA
      ? InWorker.PCA
      : Type extends Page.DINOv2
        ? InWorker.DINOv2
        : Type extends Page.FeatureGroup
          ? InWorker.FeatureGroup
          : Type extends Promise<infer Value>
            ? Promise<Swap<Value>>
            : Type extends readonly Page.Features[]
              ? readonly InWorker.Features[]
              : Type extends Page.FeatureGroup[]
                ? InWorker.FeatureGroup[]
                : Type;
/** Members with the same parameters, and results replaced by the worker's handles. */
type Swapped<Thing> = {
  [Key in keyof Thing]: Thing[Key] extends (...given: infer Given) => infer Result
    ? (...given: Given) => Swap<Result>
    : Swap<Thing[Key]>;
};

test('DINOv2: all but device, and gpuBytes as a promise', () => {
  type Same = Omit<Public<Page.DINOv2>, 'device' | 'gpuBytes' | 'embed' | 'live'>;
  expectTypeOf<Public<InWorker.DINOv2>>().toExtend<Swapped<Same>>();
  expectTypeOf<InWorker.DINOv2['gpuBytes']>().toEqualTypeOf<Promise<number>>();
  expectTypeOf<InWorker.DINOv2['embed']>().toEqualTypeOf<Page.DINOv2['embed']>();
  expectTypeOf<InWorker.DINOv2['embedAll']>().toEqualTypeOf<Page.DINOv2['embedAll']>();
  expectTypeOf<Parameters<InWorker.DINOv2['live']>>().toEqualTypeOf<
    [source: Page.LiveSource, options: Page.LiveOptions<InWorker.Features>]
  >();
  expectTypeOf<ReturnType<InWorker.DINOv2['live']>>().toEqualTypeOf<ReturnType<Page.DINOv2['live']>>();
  expectTypeOf<Exclude<keyof Page.DINOv2, keyof InWorker.DINOv2>>().toEqualTypeOf<'device'>();
});

test('Features: all but buffer and gpu', () => {
  type Same = Omit<Public<Page.Features>, 'buffer' | 'gpu' | 'lease' | 'similarity'>;
  expectTypeOf<Public<InWorker.Features>>().toExtend<Same>();
  expectTypeOf<InWorker.Features['similarity']>()
    .toBeCallableWith({ row: 0, col: 0 }, {} as Page.SimilarityOptions<InWorker.Features>)
    .returns.resolves.toEqualTypeOf<InWorker.GpuPatchMap>();
  expectTypeOf<Exclude<keyof Page.Features, keyof InWorker.Features>>().toEqualTypeOf<
    'buffer' | 'gpu' | 'lease'
  >();
});

test('ImageClassifier and PCA', () => {
  expectTypeOf<Public<Omit<InWorker.ImageClassifier, 'logits'>>>().toExtend<
    Omit<Public<Page.ImageClassifier>, 'logits'>
  >();
  expectTypeOf<ReturnType<InWorker.ImageClassifier['logits']>>().toEqualTypeOf<
    ReturnType<Page.ImageClassifier['logits']>
  >();
  expectTypeOf<Public<Omit<InWorker.PCA, 'draw' | 'drawTo' | 'png' | 'rgb'>>>().toExtend<
    Omit<Public<Page.PCA>, 'draw' | 'drawTo' | 'png' | 'rgb'>
  >();
  expectTypeOf<keyof InWorker.PCA>().toEqualTypeOf<keyof Page.PCA>();
  expectTypeOf<Parameters<InWorker.PCA['draw']>[1]>().toEqualTypeOf<Parameters<Page.PCA['draw']>[1]>();
  expectTypeOf<Parameters<InWorker.PCA['rgb']>[1]>().toEqualTypeOf<Parameters<Page.PCA['rgb']>[1]>();
});

test('PatchSegmenter and GpuPatchMap', () => {
  expectTypeOf<keyof InWorker.PatchSegmenter>().toEqualTypeOf<keyof Page.PatchSegmenter>();
  expectTypeOf<Public<Omit<InWorker.PatchSegmenter, 'map'>>>().toExtend<
    Omit<Public<Page.PatchSegmenter>, 'map'>
  >();
  expectTypeOf<ReturnType<InWorker.PatchSegmenter['map']>>().toEqualTypeOf<Promise<InWorker.GpuPatchMap>>();
  expectTypeOf<Parameters<(typeof InWorker.PatchSegmenter)['fit']>[1]>().toEqualTypeOf<
    Parameters<(typeof Page.PatchSegmenter)['fit']>[1]
  >();
  expectTypeOf<Exclude<keyof Page.GpuPatchMap, keyof InWorker.GpuPatchMap>>().toEqualTypeOf<
    'buffer' | 'gpu' | 'lease'
  >();
});

test('PatchTracker', () => {
  expectTypeOf<keyof Page.PatchTracker>().toEqualTypeOf<keyof InWorker.PatchTracker>();
  expectTypeOf<ReturnType<InWorker.PatchTracker['next']>>().toEqualTypeOf<Promise<InWorker.GpuPatchMap>>();
  type Options = Parameters<(typeof InWorker.PatchTracker)['start']>[1];
  expectTypeOf<Omit<Options, 'mask'>>().toEqualTypeOf<Omit<Page.TrackerOptions, 'mask'>>();
  expectTypeOf<Page.PatchMap | InWorker.GpuPatchMap | Page.PatchRegion>().toExtend<Options['mask']>();
  expectTypeOf<Page.GpuPatchMap>().not.toExtend<Options['mask']>();
});

test('options of a load: all but a device and onTrace', () => {
  expectTypeOf<Omit<Page.PretrainedOptions, 'device' | 'onTrace'>>().toExtend<
    InWorker.WorkerLoadOptions<Page.PretrainedOptions>
  >();
  expectTypeOf<{ device: GPUDevice }>().not.toExtend<InWorker.WorkerLoadOptions>();
  expectTypeOf<{ onTrace: () => void }>().not.toExtend<InWorker.WorkerLoadOptions>();
  expectTypeOf<ReturnType<(typeof InWorker.DINOv2)['fromPretrained']>>().toEqualTypeOf<
    Promise<InWorker.DINOv2>
  >();
});

test('objects of the page entry are of other types', () => {
  expectTypeOf<Page.Features>().not.toExtend<InWorker.Features>();
  expectTypeOf<Page.DINOv2>().not.toExtend<InWorker.DINOv2>();
  expectTypeOf<InWorker.Features>().not.toExtend<Page.Features>();
});

test('exports of the main entry that the worker entry lacks', () => {
  expectTypeOf<Exclude<keyof typeof Page, keyof typeof InWorker>>().toEqualTypeOf<'parseSafetensors'>();
});

test('PatchSimilarity reads the features of both entries', () => {
  type Readable = Parameters<typeof Page.PatchSimilarity.read>[0];
  expectTypeOf<Page.Features>().toExtend<Readable>();
  expectTypeOf<InWorker.Features>().toExtend<Readable>();
});
