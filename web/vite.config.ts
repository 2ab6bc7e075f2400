import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// `npm run dev` serves the page itself and passes the rest to a labserver.
const server = process.env["KERNELVIZ_SERVER"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [svelte()],
  build: {
    target: "es2023",
    assetsInlineLimit: 0,
    // One style sheet and no preload helper: 1 kB less before the first picture.
    modulePreload: false,
    cssCodeSplit: false,
    reportCompressedSize: true,
    // Small modules that several pages need, in one file: many small ones are
    // compressed worse, and the first picture is held to 60,000 bytes.
    rolldownOptions: {
      output: {
        codeSplitting: {
          groups: [
            {
              name: "shared",
              test: /src\/(scene\/(text|nav)|model\/(past|events|files)|ui\/(words|clock)|draw\/palette|wire\/(rows|header))\./,
            },
          ],
        },
      },
    },
  },
  server: {
    host: "127.0.0.1",
    proxy: {
      "/ws": { target: server, ws: true },
      "/api": server,
      "/healthz": server,
      "/metrics": server,
    },
  },
});
