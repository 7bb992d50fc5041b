/** The figures of the run: frames per second, frames dropped, and the grid of patches. */
import { setText } from '../shared/dom.js';
import { shortName } from '../shared/format.js';
import { isPlaying, liveNow, model, sourceNow } from './run.js';
import { featuresNow } from './showing.js';

const PERIOD_MS = 500;
const PATCH_PX = 14;

export function startFigures(): void {
  setInterval(showFigures, PERIOD_MS);
}

function showFigures(): void {
  const [live, features] = [liveNow(), featuresNow()];
  const fps = live?.fps ?? 0;
  setText('fps', live && features ? rate(fps) : '\u2013');
  setText('dropped', live ? `${live.framesDropped} of ${live.framesIn}` : '\u2013');
  setText(
    'grid',
    features
      ? `${features.rows} × ${features.cols} (${features.cols * PATCH_PX} × ${features.rows * PATCH_PX} px)`
      : '\u2013',
  );
  const software = model.loaded?.model.adapter.software;
  setText(
    'video-caption',
    [
      shortName(sourceNow()?.name ?? ''),
      isPlaying() ? '' : 'stopped',
      software ? 'no GPU: the browser emulates one on the processor' : '',
    ]
      .filter(Boolean)
      .join(' · ') || '\u00a0',
  );
}

const rate = (fps: number): string => (fps < 1 ? 'under 1' : fps.toFixed(fps < 10 ? 1 : 0));
