/** Takes a photograph with the camera. The camera stops when the dialog is closed in any way. */
import { byId } from './dom.js';
import { dismiss, showError } from './toasts.js';

export function startCamera(onStill: (still: Blob) => void): void {
  const dialog = byId('camera-dialog', HTMLDialogElement);
  const video = byId('camera-video', HTMLVideoElement);
  const take = byId('camera-take', HTMLButtonElement);
  let stream: MediaStream | undefined;

  const stop = (): void => {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = undefined;
    video.srcObject = null;
    take.disabled = true;
  };

  const open = async (): Promise<void> => {
    try {
      // `mediaDevices` is undefined on insecure pages (without HTTPS).
      const devices = navigator.mediaDevices as MediaDevices | undefined;
      if (!devices)
        throw new DOMException(
          'This page may not use the camera: open it with https, or from localhost.',
          'NotSupportedError',
        );
      dismiss('camera');
      dialog.showModal();
      const got = await devices.getUserMedia({
        video: { facingMode: 'environment', width: { ideal: 1280 } },
        audio: false,
      });
      stream = got;
      if (!dialog.open) return stop(); // the dialog was closed while the browser asked for permission
      video.srcObject = got;
      await video.play();
      take.disabled = false;
      take.focus();
    } catch (error) {
      if (!dialog.open) return stop();
      dialog.close();
      showError(
        'camera',
        'The camera could not be used.',
        isDenied(error)
          ? new DOMException(
              'The browser denied access. Allow the camera in the address bar, or use a file.',
              'NotAllowedError',
            )
          : error,
      );
    }
  };

  const still = async (): Promise<void> => {
    const canvas = document.createElement('canvas');
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext('2d')!.drawImage(video, 0, 0);
    dialog.close();
    const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, 'image/png'));
    if (blob) onStill(blob);
    else
      showError(
        'camera',
        'The still could not be taken.',
        new Error('The browser could not encode the still.'),
      );
  };

  byId('camera', HTMLButtonElement).addEventListener('click', () => void open());
  take.addEventListener('click', () => void still());
  byId('camera-close', HTMLButtonElement).addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', stop);
}

const isDenied = (error: unknown): boolean =>
  error instanceof DOMException && error.name === 'NotAllowedError';
