"""The short way of usual requests: uvicorn's protocol with as few steps as there can be."""
