/** Returns example code that does what the page does. */
import { loadCall } from '../shared/loadCall.js';
import type { ModelChoice } from '../shared/modelChoice.js';
import type { TabName } from './address.js';
import { BRIGHT } from './mode.js';
import type { Picked } from './showing.js';
import type { Facing, SourceKind } from './sources.js';

export interface CodeState {
  readonly tab: TabName;
  readonly choice: ModelChoice;
  readonly source: SourceKind;
  /** Which camera of a phone. */
  readonly facing: Facing;
  /** Longest side of a frame for the model, in pixels. */
  readonly side: number;
  /** True if the browser emulates a GPU: the page then keeps one frame in flight instead of two. */
  readonly software: boolean;
  readonly smooth: boolean;
  /** How much the features cover the video, in percent. */
  readonly opacity: number;
  readonly picks: readonly Picked[];
}

/** Code of a tab: what is imported beside the model, what is kept between frames, and what a frame does. */
interface Part {
  readonly imported: string;
  readonly kept: readonly string[];
  readonly body: readonly string[];
  /** Style of the canvas over the video, beside its opacity. */
  readonly style?: string;
}

export function code(state: CodeState): string {
  const { tab, choice, source, facing, side, software, smooth, opacity, picks } = state;
  const { imported, kept, body, style = '' } = parts[tab](picks, smooth);
  const from = sources[source];
  return [
    `import { ${['DINOv2', imported].filter(Boolean).join(', ')} } from 'dinov2-webgpu';`,
    ``,
    `const model = await ${loadCall(choice)};`,
    ...from.before.map((line) => line.replace('FACING', facing)),
    `// canvas: lies over a picture of the frame, with opacity: ${opacity}%${style}`,
    ...kept,
    `const live = await model.live(${from.source}, {`,
    `  resize: 'fit',`,
    `  longestSide: ${side},`,
    ...(software ? [`  maxInFlight: 1, // without a GPU, a second frame would only be late`] : []),
    `  async onFrame(features) {`,
    ...body.map((line) => `    ${line}`),
    `  },`,
    `});`,
    `live.fps; // frames per second`,
    `// live.stop() ends it${from.after}`,
  ].join('\n');
}

const sources: Readonly<
  Record<SourceKind, { readonly before: readonly string[]; readonly source: string; readonly after: string }>
> = {
  example: {
    before: [`const stream = film.captureStream(30); // film: a canvas on which the page draws photographs`],
    source: 'stream',
    after: '',
  },
  camera: {
    before: [
      `const stream = await navigator.mediaDevices.getUserMedia({`,
      `  video: { facingMode: 'FACING', width: { ideal: 960 }, height: { ideal: 720 } },`,
      `});`,
    ],
    source: 'stream.getVideoTracks()[0]',
    after: '; the camera itself stays on',
  },
  file: {
    before: [`const video = document.querySelector('video'); // it plays the file`],
    source: 'video',
    after: '; the video itself plays on',
  },
};

const optionsText = (...options: readonly string[]): string => {
  const given = options.filter(Boolean).join(', ');
  return given && `, { ${given} }`;
};
const smoothText = (smooth: boolean): string => (smooth ? '' : 'smooth: false');

/** Before a click, there is nothing to compute. */
const nothing = (imported: string, todo: string): Part => ({ imported, kept: [], body: [`// ${todo}`] });

const parts: Readonly<Record<TabName, (picks: readonly Picked[], smooth: boolean) => Part>> = {
  pca: (_, smooth) => ({
    imported: 'PCA',
    kept: ['let pca;'],
    body: [
      'pca ??= await PCA.fit(features); // one frame decides the colours',
      `await pca.drawTo(features, canvas${optionsText(smoothText(smooth))}); // nothing is read back from the GPU`,
    ],
  }),
  similarity: (picks, smooth) =>
    picks.length === 0
      ? nothing('PatchSimilarity', 'Pick a patch: the code then compares it with all others.')
      : {
          imported: 'PatchSimilarity',
          kept: ['let vector, range;'],
          body: [
            `if (!vector) {`,
            `  const read = await PatchSimilarity.read(features);`,
            ...(picks.length === 1
              ? [`  vector = read.vector(${positionText(picks[0]!)}); // ${gridText(picks)}`]
              : [
                  `  const patches = [ // ${gridText(picks)}`,
                  ...picks.map((pick) => `    ${positionText(pick)},`),
                  `  ];`,
                  `  const vectors = patches.map((patch) => read.vector(patch));`,
                  `  vector = vectors[0].map((_, i) => vectors.reduce((sum, each) => sum + each[i], 0) / vectors.length);`,
                ]),
            `  const { values } = read.map(vector);`,
            `  range = [Math.min(...values), Math.max(...values)]; // the same colours in all later frames`,
            `}`,
            `const map = await features.similarity(vector);`,
            `await map.drawTo(canvas${optionsText('range', smoothText(smooth))});`,
            `map.dispose();`,
          ],
        },
  segments: (picks, smooth) =>
    [true, false].some((side) => picks.every(({ on }) => on !== side))
      ? nothing('PatchSegmenter', 'Click a part of an object, and a part that does not belong to it.')
      : {
          imported: 'PatchSegmenter',
          kept: ['let segmenter;'],
          body: [
            `segmenter ??= await PatchSegmenter.fit(features, { // ${gridText(picks)}`,
            `  positive: [${positionsText(picks, true)}],`,
            `  negative: [${positionsText(picks, false)}],`,
            `});`,
            `const map = await segmenter.map(features);`,
            `await map.drawTo(canvas${optionsText(`colormap: 'gray'`, 'range: [0, 1]', smoothText(smooth))});`,
            `map.dispose();`,
          ],
          style: '; mix-blend-mode: multiply',
        },
  tracking: (picks, smooth) => {
    const [pick] = picks;
    if (!pick) return nothing('PatchTracker', 'Click what is to be followed.');
    const { row, col, rows, cols } = pick.region;
    return {
      imported: 'PatchTracker',
      kept: ['let tracker;'],
      body: [
        `tracker ??= await PatchTracker.start(features, { // ${gridText(picks)}`,
        `  mask: { row: ${row}, col: ${col}, rows: ${rows}, cols: ${cols} },`,
        `});`,
        `const map = await tracker.next(features);`,
        `await map.drawTo(canvas${optionsText(`colormap: 'gray'`, `range: [0, ${BRIGHT}]`, smoothText(smooth))});`,
        `map.dispose();`,
      ],
      style: '; mix-blend-mode: multiply',
    };
  },
};

const positionText = ({ region: { row, col } }: Picked): string => `{ row: ${row}, col: ${col} }`;
const positionsText = (picks: readonly Picked[], side: boolean): string =>
  picks
    .filter(({ on }) => on === side)
    .map(positionText)
    .join(', ');

/** Says in which grids of patches the positions are, and that the page took them from the clicked frames. */
function gridText(picks: readonly Picked[]): string {
  const grids = [...new Set(picks.map(({ grid }) => `${grid.rows} × ${grid.cols}`))].join(' and ');
  const frames = new Set(picks.map(({ frame }) => frame)).size;
  return `of ${grids} patches, in the frame${frames > 1 ? 's' : ''} that ${frames > 1 ? 'were' : 'was'} clicked`;
}
