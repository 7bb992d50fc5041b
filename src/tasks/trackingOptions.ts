/** Options of `PatchTracker`, and their checks. */
import type { ClickableFeatures } from './clickedPatch.js';
import type { GpuPatchMap } from './gpuPatchMap.js';
import { wrong, type PatchPosition } from './patchMap.js';
import type { ImageArea, ImagePoint } from './placement.js';
import { patchesOf, type PatchRegion } from './similarityQuery.js';

/** A map of labels in memory, such as a `PatchMap`. */
export interface LabelMap {
  /** Number of patch rows. */
  readonly rows: number;
  /** Number of patch columns. */
  readonly cols: number;
  /** Labels from 0 (not the object) to 1 (the object): (rows, cols). */
  readonly values: Float32Array;
}

/**
 * The object in the first frame: a map of labels from 0 to 1 (a `PatchMap`, or a `GpuPatchMap` such as the
 * result of `PatchSegmenter.map`), a rectangle of patches, a patch, or a list of these. A pixel of the image as
 * an <img> shows it stands for the patch that contains it (see `patchAt`), and a rectangle of pixels for all
 * patches that it touches.
 */
export type TrackerMask = LabelMap | GpuPatchMap | TrackerPick | readonly TrackerPick[];

/** A patch, a pixel, or a rectangle of patches or pixels. */
export type TrackerPick = PatchRegion | PatchPosition | ImageArea | ImagePoint;

/** Options of `PatchTracker.start`. */
export interface TrackerOptions {
  /** The object in the first frame. */
  readonly mask: TrackerMask;
  /** Index of the first frame in the batch. Default: 0. */
  readonly batchIndex?: number | undefined;
  /**
   * Number of most recent frames, in addition to the first frame, whose patches and labels are kept. 0 to 64.
   * Default: 7.
   */
  readonly contextFrames?: number | undefined;
  /** Number of most similar patches whose labels a patch takes. 1 to 32. Default: 5. */
  readonly topK?: number | undefined;
  /**
   * Largest distance, in rows and in columns, between a patch and the earlier patches whose labels it may
   * take. A small radius is faster, and keeps labels from jumping to similar objects elsewhere. Default: 12.
   */
  readonly radius?: number | undefined;
  /**
   * Temperature of the softmax that weighs the most similar patches: a similarity that is lower by this
   * amount has 1/e of the weight. Greater than 0. Default: 0.1.
   */
  readonly temperature?: number | undefined;
  /**
   * Smallest cosine similarity, -1 to 1, with which a patch takes the label of an earlier patch. A patch that
   * is less similar to all of them gets the label 0. Default: 0.
   */
  readonly minSimilarity?: number | undefined;
  /**
   * Smallest label that counts as the object, 0 to 1. Lower labels are 0 in the results of `next`; the
   * tracker itself goes on with the exact labels. Default: 0.5. If the labels of the mask sum to less than
   * `topK` (a mask of one patch, for instance), the default is 0.5 · sum / topK, because a patch of the next
   * frame then also takes labels of patches that the mask leaves out. For a mask on the GPU the default is
   * always 0.5, because the labels are not read.
   */
  readonly threshold?: number | undefined;
  /** Aborts the call: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** The checked settings of a tracker. */
export interface TrackerSettings {
  readonly contextFrames: number;
  readonly topK: number;
  readonly radius: number;
  readonly temperature: number;
  readonly minSimilarity: number;
  readonly threshold: number;
}

const WHERE = 'PatchTracker.start';

/**
 * Checks the options that are numbers.
 * @param labels the labels of the mask, if they are not on the GPU
 * @throws OptionError OPTION_VALUE
 */
export function settingsOf(options: Partial<TrackerOptions>, labels?: Float32Array): TrackerSettings {
  const {
    contextFrames = 7,
    topK = 5,
    radius = 12,
    temperature = 0.1,
    minSimilarity = 0,
    threshold = 0.5 * Math.min(1, labels ? sumOf(labels) / topK : 1),
  } = options;
  integer('contextFrames', contextFrames, 0, 64);
  integer('topK', topK, 1, 32);
  integer('radius', radius, 0, 2 ** 16);
  number('temperature', temperature, 1e-4, 1e4);
  number('minSimilarity', minSimilarity, -1, 1);
  number('threshold', threshold, 0, 1);
  return { contextFrames, topK, radius, temperature, minSimilarity, threshold };
}

/**
 * Returns the labels of a mask that is not on the GPU: (rows, cols).
 * @throws OptionError OPTION_VALUE, if the mask is empty, or of a different size, or has labels outside 0 to 1
 */
export function labelsOf(
  features: ClickableFeatures,
  batchIndex: number,
  mask: Exclude<TrackerMask, GpuPatchMap>,
): Float32Array<ArrayBuffer> {
  if (typeof mask !== 'object' || mask === null)
    throw wrong(`${WHERE}: mask`, 'a map, a rectangle, a patch or a list of patches', typeof mask);
  const labels = isMap(mask)
    ? ofMap(mask, features.rows, features.cols)
    : ofPatches(features, batchIndex, mask);
  if (!labels.some((label) => label > 0))
    throw wrong(`${WHERE}: mask`, 'at least one patch with a label greater than 0', 'none');
  return labels;
}

// Arrays have a method `values`.
const isMap = (mask: Exclude<TrackerMask, GpuPatchMap>): mask is LabelMap =>
  'values' in mask && !Array.isArray(mask);

function ofMap(mask: LabelMap, rows: number, cols: number): Float32Array<ArrayBuffer> {
  checkSize(mask, rows, cols);
  const labels = Float32Array.from(mask.values);
  if (labels.length !== rows * cols) throw wrong(`${WHERE}: mask`, `${rows} × ${cols} labels`, labels.length);
  const wrongLabel = labels.find((label) => !(label >= 0 && label <= 1));
  if (wrongLabel !== undefined) throw wrong(`${WHERE}: mask`, 'labels from 0 to 1', wrongLabel);
  return labels;
}

function ofPatches(
  features: ClickableFeatures,
  batchIndex: number,
  mask: Exclude<TrackerMask, GpuPatchMap | LabelMap>,
): Float32Array<ArrayBuffer> {
  const { rows, cols } = features;
  const where = `${WHERE}: mask`;
  const labels = new Float32Array(rows * cols);
  const picks = 'row' in mask || 'x' in mask ? [mask] : mask;
  if (!Array.isArray(picks))
    throw wrong(where, 'a map, a rectangle, a patch or a list of patches', 'another object');
  const image = { rows, cols, placement: features.placements?.[batchIndex] };
  for (const pick of picks as readonly (PatchRegion | ImageArea)[])
    for (const patch of patchesOf(where, image, pick)) labels[patch] = 1;
  return labels;
}

/** Checks that a map has the size of the frame. @throws OptionError OPTION_VALUE */
export function checkSize(
  mask: { readonly rows: number; readonly cols: number },
  rows: number,
  cols: number,
): void {
  if (mask.rows !== rows || mask.cols !== cols)
    throw wrong(`${WHERE}: mask`, `a map of ${rows} × ${cols} patches`, `${mask.rows} × ${mask.cols}`);
}

const sumOf = (labels: Float32Array): number => labels.reduce((sum, label) => sum + label, 0);

function integer(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most)
    throw wrong(`${WHERE}: ${name}`, `a whole number from ${least} to ${most}`, value);
}

function number(name: string, value: number, least: number, most: number): void {
  if (typeof value !== 'number' || !(value >= least && value <= most))
    throw wrong(`${WHERE}: ${name}`, `a number from ${least} to ${most}`, value);
}
