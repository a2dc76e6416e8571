"""A gateway whose user has a part of their own: who asks, middleware, CORS, plain routes, calls."""
