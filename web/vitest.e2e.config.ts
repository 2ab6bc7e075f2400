import { defineConfig } from "vitest/config";

// Browser tests: playwright-core drives a Chromium against a real labserver.
export default defineConfig({
  test: {
    environment: "node",
    include: ["e2e/**/*.test.ts"],
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
