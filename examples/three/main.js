// A photograph as a relief in three.js: a part is the higher, the more similar it is to the patch under the
// pointer. three.js and the model share one GPU device, and the similarities never leave the GPU.
import { DINOv2 } from 'dinov2-webgpu';
import * as THREE from 'three/webgpu';

const canvas = document.querySelector('canvas');
const say = (text) => (document.querySelector('#status').textContent = text);
for (const kind of ['error', 'unhandledrejection'])
  addEventListener(kind, ({ error, reason }) => say((error ?? reason).message));

const model = await DINOv2.fromPretrained('facebook/dinov2-small', {
  onProgress: ({ loadedBytes }) => say(`Loading: ${(loadedBytes / 1e6).toFixed()} MB`),
});
const { device } = model; // of the library, with everything that makes the model fast
const renderer = new THREE.WebGPURenderer({ canvas, device, antialias: true });
await renderer.init();
renderer.setPixelRatio(devicePixelRatio);
renderer.setSize(canvas.clientWidth, canvas.clientHeight, false);

/** Where the library draws the similarities, and where three.js reads them. */
const heights = device.createTexture({
  size: [256, 256],
  format: 'rgba8unorm',
  usage: GPUTextureUsage.RENDER_ATTACHMENT | GPUTextureUsage.TEXTURE_BINDING,
});
const displacementMap = new THREE.ExternalTexture(heights);
displacementMap.repeat.y = -1; // the first row of the texture is the top of the photograph
displacementMap.offset.y = 1;

const material = new THREE.MeshStandardMaterial({ displacementMap, displacementScale: 0.4 });
const relief = new THREE.Mesh(new THREE.PlaneGeometry(1, 1, 255, 255), material);
const scene = new THREE.Scene().add(relief, new THREE.HemisphereLight('white', 'gray', 3));
const camera = new THREE.PerspectiveCamera(40, canvas.clientWidth / canvas.clientHeight, 0.1, 10);
camera.position.set(0, -1.2, 1.6);
camera.lookAt(0, 0, 0);

say('Choose a photograph.');

let features;
document.querySelector('input').onchange = async ({ target }) => {
  say('Computing…');
  const photo = await createImageBitmap(target.files[0], { imageOrientation: 'flipY' });
  const next = await model.features(target.files[0], {
    resize: 'fit',
    longestSide: 518,
    orientation: 'respect',
  });
  features?.dispose();
  features = next;
  material.map?.dispose();
  material.map = new THREE.Texture(photo);
  material.map.colorSpace = THREE.SRGBColorSpace;
  material.map.flipY = false;
  material.map.needsUpdate = true;
  material.needsUpdate = true;
  relief.scale.set(1.6, (1.6 * photo.height) / photo.width, 1);
  await raise({ row: features.rows >> 1, col: features.cols >> 1 });
  say(`${features.rows} × ${features.cols} patches. Point at one.`);
};

async function raise(patch) {
  const map = await features.similarity(patch);
  await map.drawTo(heights, { colormap: 'gray', range: [0, 1] });
  map.dispose();
  renderer.render(scene, camera);
}

const ray = new THREE.Raycaster();
const floor = new THREE.Mesh(new THREE.PlaneGeometry(1, 1)); // the relief without its heights
canvas.onpointermove = ({ offsetX, offsetY }) => {
  if (!features) return;
  const x = (offsetX / canvas.clientWidth) * 2 - 1;
  const y = 1 - (offsetY / canvas.clientHeight) * 2;
  ray.setFromCamera(new THREE.Vector2(x, y), camera);
  floor.scale.copy(relief.scale);
  floor.updateMatrixWorld();
  const [hit] = ray.intersectObject(floor);
  if (!hit) return;
  const row = Math.min(features.rows - 1, Math.floor((1 - hit.uv.y) * features.rows));
  const col = Math.min(features.cols - 1, Math.floor(hit.uv.x * features.cols));
  void raise({ row, col });
};
