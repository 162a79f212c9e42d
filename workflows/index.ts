/** Every export is a workflow type. */
export { launch } from './launch.ts';
