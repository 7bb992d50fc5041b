import type { Browser } from 'playwright';
export declare const PROJECTS: Readonly<Record<string, object>>;
export interface ProjectResult {
  readonly build?: string;
  readonly page?: string;
  readonly worker?: string;
  readonly devPage?: string;
  readonly devWorker?: string;
  readonly bytes?: number;
  readonly gzipBytes?: number;
}
export declare function tryProject(
  name: string,
  options: { readonly tarball: string; readonly browser: Browser; readonly into: string },
): Promise<ProjectResult>;
