import type { Page } from 'playwright';

/** Least number of frames in a recording. Not every drawing on the canvas becomes a frame. */
const FRAMES = 20;

/** Returns a WebM file, recorded by the browser, in which a white square moves over a green background. */
export async function recordVideo(page: Page, width: number, height: number): Promise<Buffer> {
  const base64 = await page.evaluate(
    async ([frames, canvasWidth, canvasHeight]) => {
      const canvas = document.createElement('canvas');
      [canvas.width, canvas.height] = [canvasWidth, canvasHeight];
      const context = canvas.getContext('2d')!;
      const stream = canvas.captureStream();
      // Plays what is recorded, which tells how many frames have arrived.
      const video = document.createElement('video');
      video.muted = true;
      video.srcObject = stream;
      let arrived = 0;
      const count = (): void => {
        arrived += 1;
        video.requestVideoFrameCallback(count);
      };
      video.requestVideoFrameCallback(count);
      void video.play();
      const recorder = new MediaRecorder(stream, { mimeType: 'video/webm' });
      const parts: Blob[] = [];
      recorder.addEventListener('dataavailable', ({ data }) => parts.push(data));
      const stopped = new Promise((resolve) => recorder.addEventListener('stop', resolve));
      recorder.start();
      for (let i = 0; arrived < frames; i++) {
        context.fillStyle = '#274';
        context.fillRect(0, 0, canvas.width, canvas.height);
        context.fillStyle = '#fff';
        context.fillRect(100 + 2 * (i % 40), 60, 60, 60);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      recorder.stop();
      await stopped;
      const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
      return btoa(Array.from(bytes, (each) => String.fromCharCode(each)).join(''));
    },
    [FRAMES, width, height] as const,
  );
  return Buffer.from(base64, 'base64');
}
