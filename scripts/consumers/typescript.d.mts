export declare const VERSIONS: readonly string[];
export declare const RESOLUTIONS: Readonly<Record<string, string>>;
export declare const LIBS: readonly string[];
export interface Setting {
  readonly version: string;
  readonly resolution: string;
  readonly lib: string;
  readonly webgpuTypes: boolean;
}
export interface ErrorCounts {
  readonly library: number;
  readonly webgpuTypes: number;
  readonly app: number;
  readonly gpu: number;
  readonly other: number;
  readonly text: string;
}
export declare function installCompilers(options: { tarball: string; into: string }): string;
export declare function compile(project: string, setting: Setting): ErrorCounts;
