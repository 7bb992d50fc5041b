// The patches of a picture as colours: node pca-png.mjs PICTURE OUT.png
import { writeFile } from 'node:fs/promises';
import { DINOv2, PCA } from 'dinov2-webgpu/node';

const [picture, out] = process.argv.slice(2);
const model = await DINOv2.fromPretrained('facebook/dinov2-small');
const features = await model.features(picture, { resize: 'fit', longestSide: 518, orientation: 'respect' });
const pca = await PCA.fit(features);
const png = await pca.png(features, { scale: 14 });
await writeFile(out, png.stream());
model.dispose();
