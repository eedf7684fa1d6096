{
  "Job": {
    "ID": "demo"
  }
}
