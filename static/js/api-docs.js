// Draws the API from the document beside it. Requests from here act as the reader's session.
"use strict";

const place = document.getElementById("swagger");
const token = () => document.cookie.split("; ").find((c) => c.startsWith("csrftoken="))?.slice("csrftoken=".length) ?? "";
window.addEventListener("DOMContentLoaded", () => {
  SwaggerUIBundle({
    url: place.dataset.document,
    domNode: place,
    deepLinking: true,
    docExpansion: "none",
    validatorUrl: null,
    requestInterceptor: (request) => { request.headers["X-CSRFToken"] = token(); return request; },
  });
});
