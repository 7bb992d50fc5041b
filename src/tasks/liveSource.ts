/**
 * Sources of live video: a <video>, a camera, a stream of frames. A source delivers frames without copying
 * them to the CPU. A `VideoFrame` is a reference to a picture that the browser holds, usually on the GPU.
 */
import { ImageError, OptionError } from '../errors.js';
import { kindOf, wrongKind } from '../optionObject.js';
import { pause } from '../platform/pause.js';

/**
 * Sources of `DINOv2.live`.
 *
 * - `HTMLVideoElement`: every frame that the element shows. A paused or ended video delivers no frames, and
 *   delivers frames again when it plays or seeks. Hidden tabs show no frames.
 * - `MediaStream`: its first video track. `MediaStreamTrack`: a video track, for example of a camera. The
 *   source ends when the track ends. The library does not stop the track.
 * - `ReadableStream` of `VideoFrame`s: the library reads the stream, closes each frame that it has read, and
 *   cancels the stream if the live video ends before the stream.
 */
export type LiveSource = HTMLVideoElement | MediaStream | MediaStreamTrack | ReadableStream<VideoFrame>;

/**
 * A frame of a live video: a `VideoFrame`. The <video> itself in a browser without `VideoFrame`, and if the
 * page may not read the pixels of the video.
 */
export type LiveImage = VideoFrame | HTMLVideoElement;

/**
 * Delivers the frames of a source until the source ends or `signal` is aborted, then resolves. The receiver
 * closes the frames. Rejects if the source fails.
 */
export type RunSource = (deliver: (frame: LiveImage) => void, signal: AbortSignal) => Promise<void>;

/** `HTMLMediaElement.HAVE_CURRENT_DATA`: from this `readyState` on, a video has a picture. */
const HAVE_CURRENT_DATA = 2;

/** `MediaStreamTrackProcessor` exists in Chromium, and in workers of Safari. */
type TrackProcessor = new (init: { readonly track: MediaStreamTrack }) => {
  readonly readable: ReadableStream<VideoFrame>;
};

/**
 * Checks a source. Does not start it.
 *
 * @throws OptionError OPTION_VALUE
 */
export function openSource(source: LiveSource): RunSource {
  const kind = kindOf(source);
  if (kind === 'HTMLVideoElement')
    return (deliver, signal) => watchVideo(source as HTMLVideoElement, deliver, signal);
  if (kind === 'ReadableStream') {
    const stream = source as ReadableStream<VideoFrame>;
    if (stream.locked)
      throw new OptionError(
        'OPTION_VALUE',
        'live: the stream is locked: it has a reader already. Release the reader, or pass another stream.',
      );
    return (deliver, signal) => readStream(stream, deliver, signal);
  }
  // Browsers have subclasses, such as CanvasCaptureMediaStreamTrack.
  if (kind.endsWith('MediaStream')) return openTrack((source as MediaStream).getVideoTracks()[0]);
  if (kind.includes('MediaStreamTrack')) return openTrack(source as MediaStreamTrack);
  throw wrongKind('live', 'a <video>, a MediaStream, a MediaStreamTrack or a stream of VideoFrames', source);
}

function openTrack(track: MediaStreamTrack | undefined): RunSource {
  if (track?.kind !== 'video')
    throw new OptionError(
      'OPTION_VALUE',
      `live: expected a video track, found ${track ? `a track of kind ${track.kind}` : 'a MediaStream without a video track'}. Call getUserMedia with { video: true }.`,
    );
  const Processor = Reflect.get(globalThis, 'MediaStreamTrackProcessor') as TrackProcessor | undefined;
  if (!Processor && typeof document === 'undefined')
    throw new OptionError(
      'OPTION_VALUE',
      'live: this browser reads a MediaStreamTrack only in a page, not in a worker. Use the entry dinov2-webgpu/worker in the page.',
    );
  return async (deliver, signal) => {
    if (track.readyState === 'ended') return;
    if (Processor) await readStream(new Processor({ track }).readable, deliver, signal);
    else await watchTrack(track, deliver, signal);
  };
}

async function readStream(
  stream: ReadableStream<VideoFrame>,
  deliver: (frame: LiveImage) => void,
  signal: AbortSignal,
): Promise<void> {
  const reader = stream.getReader();
  // A pending `read()` resolves as soon as the stream is cancelled.
  const cancel = (): void => void reader.cancel(signal.reason).catch(() => undefined);
  signal.addEventListener('abort', cancel, { once: true });
  try {
    while (!signal.aborted) {
      const { done, value } = await reader.read();
      if (done) return;
      deliver(value);
      // A stream that makes frames without waiting would otherwise keep the page from doing anything else.
      await pause();
    }
  } finally {
    signal.removeEventListener('abort', cancel);
    reader.releaseLock();
  }
}

/** Delivers the frames of a track through a <video> that is not in the page. */
async function watchTrack(
  track: MediaStreamTrack,
  deliver: (frame: LiveImage) => void,
  signal: AbortSignal,
): Promise<void> {
  const video = document.createElement('video');
  video.muted = true; // browsers play only muted videos without a click
  video.playsInline = true;
  video.srcObject = new MediaStream([track]);
  const ended = new AbortController();
  const end = (): void => ended.abort();
  // `track.stop()` fires no event on the track, but the video ends.
  for (const target of [track, video]) target.addEventListener('ended', end);
  try {
    await Promise.all([watchVideo(video, deliver, AbortSignal.any([signal, ended.signal])), play(video)]);
  } finally {
    for (const target of [track, video]) target.removeEventListener('ended', end);
    video.srcObject = null;
  }
}

async function play(video: HTMLVideoElement): Promise<void> {
  try {
    await video.play();
  } catch (cause) {
    if (video.srcObject === null || video.ended) return; // the live video ended before the video started
    throw new ImageError(
      'IMAGE_DECODE',
      `live: the video of the track cannot be played (${String(cause)}). Start after a click, or pass a <video> that plays the track.`,
      { cause },
    );
  }
}

/** Delivers each frame that a <video> shows. The picture that it shows now is the first one. */
function watchVideo(
  video: HTMLVideoElement,
  deliver: (frame: LiveImage) => void,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const hasCallback = 'requestVideoFrameCallback' in video;
    let request = 0;
    let shownSeconds = -1;
    const next = (): void => {
      request = hasCallback ? video.requestVideoFrameCallback(take) : requestAnimationFrame(takeNew);
    };
    const take = (): void => {
      next();
      deliver(frameOf(video));
    };
    /** An animation frame does not tell whether the video has a new picture, but its time has changed then. */
    const takeNew = (): void => {
      next();
      if (video.readyState < HAVE_CURRENT_DATA || video.currentTime === shownSeconds) return;
      shownSeconds = video.currentTime;
      deliver(frameOf(video));
    };
    const finish = (): void => {
      if (hasCallback) video.cancelVideoFrameCallback(request);
      else cancelAnimationFrame(request);
      video.removeEventListener('error', fail);
      signal.removeEventListener('abort', finish);
      resolve();
    };
    const fail = (): void => {
      const why = video.error?.message ?? '';
      reject(
        new ImageError(
          'IMAGE_DECODE',
          `live: the video cannot be played (${why || `code ${video.error?.code}`}). Check its src and format.`,
        ),
      );
      finish();
    };
    if (signal.aborted) return resolve();
    signal.addEventListener('abort', finish);
    video.addEventListener('error', fail);
    if (video.error) return fail();
    if (hasCallback && video.readyState >= HAVE_CURRENT_DATA) take();
    else next();
  });
}

/**
 * Returns the picture that a <video> shows. If there is no `VideoFrame`, or the page may not read the pixels,
 * returns the video itself: its pixels are copied when its features are requested, and that call throws the
 * error that tells what is wrong.
 */
function frameOf(video: HTMLVideoElement): LiveImage {
  try {
    return new VideoFrame(video);
  } catch {
    return video;
  }
}
