export default {
  // The development server moves the code of dependencies to another folder, where the worker's file is missing.
  optimizeDeps: { exclude: ['dinov2-webgpu'] },
  // The worker loads parts of the library when it needs them, which the default format cannot express.
  worker: { format: 'es' },
};
