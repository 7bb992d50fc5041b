/** Where the video comes from: the built-in example, a camera, or a file. Shows it in the left picture. */
import type { LiveSource } from '../../src/index.js';
import { byId } from '../shared/dom.js';
import { shortName } from '../shared/format.js';
import { openExample, type Example } from './example.js';

export type SourceKind = 'example' | 'camera' | 'file';

/** A video that is open. */
export interface Source {
  readonly kind: SourceKind;
  readonly name: string;
  /** What the model gets. */
  readonly live: LiveSource;
  /** True for a front camera: people expect it to behave like a mirror. */
  readonly mirror: boolean;
  /** Lets the video run, or holds it. */
  run(runs: boolean): void;
  /** Called when the features of a frame are shown. */
  shown?(): void;
  /** Ends it. A camera is released. */
  close(): void;
}

const video = byId('video', HTMLVideoElement);
let example: Promise<Example> | undefined;

const play = (): void => void video.play().catch(() => undefined); // a newer source may have replaced it

function showStream(stream: MediaStream): void {
  video.srcObject = stream;
  play();
}

/** Opens the built-in example. */
export async function exampleSource(): Promise<Source> {
  const film = await (example ??= openExample());
  return {
    kind: 'example',
    name: 'Example',
    live: film.stream,
    mirror: false,
    run(runs) {
      if (video.srcObject !== film.stream) showStream(film.stream);
      film.run(runs);
    },
    shown: () => film.shown(),
    close() {
      film.run(false);
      video.srcObject = null;
    },
  };
}

/** Which camera of a phone. */
export type Facing = 'user' | 'environment';

/** Asks for a camera. Throws an error whose message says in plain words why there is none. */
export async function cameraSource(facing: Facing, onEnd: () => void): Promise<Source> {
  // `mediaDevices` is undefined on insecure pages (without HTTPS).
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (!devices)
    throw new DOMException(
      'This page may not use a camera: open it with https, or from localhost.',
      'NotSupportedError',
    );
  let stream: MediaStream;
  try {
    stream = await devices.getUserMedia({
      video: { facingMode: facing, width: { ideal: 960 }, height: { ideal: 720 } },
      audio: false,
    });
  } catch (error) {
    throw inPlainWords(error);
  }
  const [track] = stream.getVideoTracks();
  track!.addEventListener('ended', onEnd); // unplugged, or taken away by the browser
  const { facingMode } = track!.getSettings();
  return {
    kind: 'camera',
    name: 'Camera',
    live: track!,
    // A computer's camera has no `facingMode`, and looks at the person.
    mirror: facingMode !== 'environment',
    run(runs) {
      if (!runs) return video.pause();
      if (video.srcObject === stream) play();
      else showStream(stream);
    },
    close() {
      track!.removeEventListener('ended', onEnd);
      for (const each of stream.getTracks()) each.stop();
      if (video.srcObject === stream) video.srcObject = null;
    },
  };
}

/** Returns how many cameras there are. Browsers tell this only after a camera was allowed. */
export async function countCameras(): Promise<number> {
  const all = await navigator.mediaDevices.enumerateDevices();
  return all.filter(({ kind }) => kind === 'videoinput').length;
}

const CAMERA_WORDS: Readonly<Record<string, string>> = {
  NotAllowedError:
    'The browser denied access to the camera. Allow the camera in the address bar or in the settings of the system, and press Camera again. The example and video files need no permission.',
  NotFoundError: 'There is no camera. Connect one and press Camera again, or open a video file.',
  OverconstrainedError: 'There is no camera of this kind. Open a video file instead.',
  NotReadableError:
    'The camera is busy: another program or tab uses it. Close that one, and press Camera again.',
};

function inPlainWords(error: unknown): unknown {
  const name = error instanceof DOMException ? error.name : '';
  const known = name === 'AbortError' ? 'NotReadableError' : name; // Firefox
  const words = CAMERA_WORDS[known];
  return words === undefined ? error : new DOMException(words, known);
}

/** Opens a video file. Throws if the browser cannot play it. */
export async function fileSource(file: File): Promise<Source> {
  const url = URL.createObjectURL(file);
  try {
    await canPlay(url);
  } catch {
    URL.revokeObjectURL(url);
    throw new DOMException(
      `This browser cannot play ${shortName(file.name)} (${file.type || 'a file of unknown type'}). Use MP4 with H.264, or WebM.`,
      'NotSupportedError',
    );
  }
  return {
    kind: 'file',
    name: file.name,
    live: video,
    mirror: false,
    run(runs) {
      if (video.src !== url) {
        video.srcObject = null;
        video.src = url;
      }
      if (runs) play();
      else video.pause();
    },
    close() {
      video.removeAttribute('src');
      video.load();
      URL.revokeObjectURL(url);
    },
  };
}

/** Resolves when the browser has decoded the first picture of a video; the page's video stays as it is. */
function canPlay(url: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const probe = document.createElement('video');
    probe.muted = true;
    probe.preload = 'auto';
    probe.addEventListener('loadeddata', () =>
      probe.videoWidth > 0 ? resolve() : reject(new Error('no picture')),
    );
    probe.addEventListener('error', () => reject(new Error(probe.error?.message)));
    probe.src = url;
  });
}
