import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    // A process a file: a test that leaks or crashes takes nobody with it.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    // The first test that asks for a server may wait until Go has built it.
    hookTimeout: 600_000,
    teardownTimeout: 30_000,
    env: { TZ: 'UTC' },
  },
});
