/** Returns example code that computes the same features as the page shows. */
import { hubId, type InputSize, type ModelChoice } from './state.js';

export function snippet(choice: ModelChoice, input: InputSize, foreground: boolean): string {
  const dtype = choice.dtype === 'fp32' ? '' : `dtype: '${choice.dtype}'`;
  const resize = input === 'crop' ? '' : `resize: 'fit', longestSide: ${input}, `;
  return [
    `import { DINOv2, PCA } from 'dinov2-webgpu';`,
    ``,
    `const model = await ${loadCall(choice, dtype)};`,
    `using features = await model.features(image, { ${resize}orientation: 'respect' });   // image: a Blob, <img>, canvas, video, URL …`,
    `const pca = await PCA.fit(features, { foreground: '${foreground ? 'auto' : 'none'}' });`,
    `await pca.draw(features, canvas);`,
  ].join('\n');
}

const files = ({ config, preprocessor }: ModelChoice): string =>
  ['weights: file', config ? 'config' : '', preprocessor ? 'preprocessor' : ''].filter(Boolean).join(', ');

function loadCall(choice: ModelChoice, dtype: string): string {
  const registers = choice.registers ? 'registers: true' : '';
  const options = (...parts: string[]): string => {
    const given = parts.filter((part) => part !== '').join(', ');
    return given && `, { ${given} }`;
  };
  switch (choice.weights) {
    case 'hub':
      return `DINOv2.fromPretrained('${hubId(choice)}'${options(dtype)})`;
    case 'file':
      return `DINOv2.fromFiles({ ${files(choice)} }${options(dtype)})`;
    case 'synthetic':
      return `DINOv2.synthetic('${choice.size}'${options(registers, dtype)})`;
  }
}
