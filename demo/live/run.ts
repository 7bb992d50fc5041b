/** The live video: runs the model on the source while the page is visible and the visitor has not stopped it. */
import { DINOv2, type LiveVideo } from '../../src/index.js';
import { Latest } from '../shared/latest.js';
import { ModelState } from '../shared/model.js';
import { dismiss, showError } from '../shared/toasts.js';
import type { Side } from './address.js';
import { featuresNow, forget, present } from './showing.js';
import type { Source } from './sources.js';
import { setBusy, setEmpty } from './stage.js';

let source: Source | undefined;
let side: Side = 322;
let playing = true;
/** If true, the video stops after its next frame. */
let single = false;
let live: LiveVideo | undefined;
let onState: () => void = () => undefined;
const runs = new Latest();

/** Calls `listener` when the video starts or stops, or the source changes. */
export const whenState = (listener: () => void): void => void (onState = listener);

export const model = new ModelState<DINOv2>(DINOv2, async () => {
  runs.abort();
  await ended;
  await forget();
  if (playing) restart();
  else showOne();
});

export const isPlaying = (): boolean => playing;
export const sourceNow = (): Source | undefined => source;
export const liveNow = (): LiveVideo | undefined => live;

/** Takes another source. What was fitted to the last one or picked in it is forgotten. */
export async function setSource(next: Source): Promise<void> {
  const before = source;
  source = next;
  playing = true;
  runs.abort();
  await ended;
  if (before) await forget();
  if (before !== next) before?.close();
  restart();
}

/** Starts or stops the video. `onlyOne`: stops it after the next frame. */
export function setPlaying(plays: boolean, onlyOne = false): void {
  playing = plays;
  single = onlyOne;
  restart();
}

export function setSide(next: Side): void {
  side = next;
  if (live) restart();
  else if (featuresNow()) showOne();
}

/** Computes one frame of a stopped video. A stopped camera is not started for that. */
function showOne(): void {
  if (source?.kind === 'camera') restart();
  else setPlaying(true, true);
}

/** Resolves when the last run has ended. */
let ended: Promise<unknown> = Promise.resolve();

/** Starts a run, or ends the one in progress, as the state of the page requires. */
export function restart(): void {
  onState();
  const [by, from] = [model.loaded?.model, source];
  const runsNow = by !== undefined && from !== undefined && playing && !document.hidden;
  from?.run(runsNow);
  if (!featuresNow()) {
    if (by && !playing) setEmpty('Stopped');
    else if (by) setBusy('Computing the first frame…');
    else if (model.loading || !model.support) setBusy('Loading the model…');
    else setEmpty('No model is loaded');
  }
  void runs.start(async (signal) => {
    if (!runsNow) return;
    ended = run(by, from, signal);
    await ended;
  });
}

/** Runs until the source ends or the run is stopped. Never rejects. */
async function run(by: DINOv2, from: Source, signal: AbortSignal): Promise<void> {
  let mine: LiveVideo | undefined;
  try {
    mine = await by.live(from.live, {
      resize: 'fit',
      longestSide: side,
      // On a slow adapter, a second frame in flight would only make the picture late.
      maxInFlight: by.adapter.software ? 1 : 2,
      signal,
      async onFrame(features, info) {
        info.keep();
        await present(features, info);
        from.shown?.();
        dismiss('live');
        if (single && !signal.aborted) setPlaying(false);
      },
    });
    live = mine;
    onState();
    await mine.finished;
  } catch (error) {
    if (!signal.aborted) fail(error);
  } finally {
    if (live === mine) live = undefined;
    onState();
  }
}

/** Reports that a frame could not be computed or shown. */
export function fail(error: unknown): void {
  if (model.lostBy(error)) return;
  playing = false;
  setEmpty('Stopped');
  onState();
  showError('live', 'The live video stopped, because a frame could not be computed.', error, {
    text: 'Start again',
    run: () => setPlaying(true),
  });
}

document.addEventListener('visibilitychange', restart);
