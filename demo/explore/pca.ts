/** Draws the features of all patches as colours: their first three principal components. */
import { PCA } from '../../src/index.js';
import { shortName } from '../shared/format.js';
import { map, type Drawn } from './frame.js';
import type { Result } from './result.js';

/** The colours of one result, kept so that they can be shown again at once. */
let kept: { result: Result; foreground: boolean; canvas: HTMLCanvasElement; caption: string } | undefined;

/** Computes the colours. With `foreground`, patches of the background stay transparent. */
export async function preparePca(result: Result, foreground: boolean, signal: AbortSignal): Promise<void> {
  if (hasPca(result, foreground)) return;
  const { features, picture } = result;
  const canvas = document.createElement('canvas');
  const pca = await PCA.fit(features, { foreground: foreground ? 'auto' : 'none', signal });
  await pca.draw(features, canvas, { background: 'transparent', signal });
  signal.throwIfAborted();
  const patches = `${features.rows} × ${features.cols} patches of ${shortName(picture.name)}`;
  const found = pca.foreground !== undefined;
  kept = {
    result,
    foreground,
    canvas,
    caption: !foreground
      ? `${patches}: three principal components as red, green and blue.`
      : found
        ? `The foreground among ${patches}: three principal components as red, green and blue.`
        : `${patches}: no foreground was found, so all are coloured.`,
  };
}

export const hasPca = (result: Result, foreground: boolean): boolean =>
  kept?.result === result && kept.foreground === foreground;

export function drawPca(): Drawn {
  const { canvas, caption } = kept!;
  map.width = canvas.width;
  map.height = canvas.height;
  map.getContext('2d')!.drawImage(canvas, 0, 0);
  return { caption, label: `Features: ${caption}` };
}
